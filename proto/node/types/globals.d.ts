/** Valibot names it; Node has it from 20 on. */
interface File extends Blob {
	readonly name: string;
}
