/*
 * The engine as a model: own, poll, settle, suspend, wake, take over. Checked by spin, see test_model.py; what it leaves
 * out, and what it claims, stands in docs/architecture.md ("What is proved").
 *
 * One shard, two nodes, and PostgreSQL between them. The execution P saves a step, suspends for two children, and ends;
 * the children end at once. With ANY one of them is enough for P to end, and the other is then cancelled by its owner. A client
 * invokes P, and may cancel anything and retry P, or the second child. Whatever runs beside each other in reality is a
 * process here, and each step of a process is what happens at one moment in PostgreSQL or in a node:
 *
 *   Backend   the server's end of a writer's session. A statement that is sent has begun (has its row locks, its number and
 *             its snapshot), then it commits, then it is answered; and the session may end before each of these.
 *   Node      a master with its handlers. It may do nothing for as long as it likes: that is a stopped one.
 *   Client    transactions that begin and commit, beside those of the nodes; so numbers are committed out of order.
 *   Faults    end a session, whose lock goes with it, or a node with all it remembers.
 *   Monitor   looks at what is left when nothing can happen any more.
 *
 * Nothing goes round in circles: each fault and each wish of the client happens a limited number of times, and a poll that
 * would find nothing new does not happen. So every history ends, and "finally" is a question about its end.
 *
 * -DCLAIM=name   checks that claim alone; all of them without.
 * -DNO_x         takes a protection out: NO_RUN_PAIR, NO_EPOCH, NO_WAKES_LOG, NO_WAIT_PAIR, NO_LATE_LIST, NO_WRITER_LOCK,
 *                NO_JOURNAL_RULE. Each breaks a claim.
 * -DCUTS=n …     how often, see below.
 * -DREACH        prints the name of each reach() that is come by, once: so that no claim holds because nothing happens.
 */

#define nothing_lost			1
#define no_outcome_by_former_owner	2
#define no_acknowledged_step_overwritten 3
#define every_wake_counted_once		4
#define each_finished_once		5

#ifdef CLAIM
#define claim(name, holds)	assert(name != CLAIM || (holds))
#else
#define claim(name, holds)	assert(name == 0 || (holds))
#endif

#ifdef REACH
#define reach(name)	c_code { static int seen; if (seen++ == 0) puts("reached " #name); }
#else
#define reach(name)	skip
#endif

#ifndef CUTS
#define CUTS	1	/* sessions that end under a node, which may notice much later */
#endif
#ifndef CRASHES
#define CRASHES	1	/* nodes that end and start anew */
#endif
#ifndef GIVES
#define GIVES	0	/* shards given up in good order */
#endif
#ifndef FAILS
#define FAILS	0	/* attempts of P that fail and are tried again */
#endif
#ifndef CANCELS
#define CANCELS	1
#endif
#ifndef RETRIES
#define RETRIES	1	/* one at most: P has two lives in the tables below */
#endif
#ifndef AGAINS
#define AGAINS	0	/* the second child, which has no parent then; one at most, and only while P has one life */
#endif
#ifndef ANY
#define ANY	0	/* 1: P waits for one of its children */
#endif

/* ---- the database ---- */

/* executions: P and its children */
#define P	0
#define GONE	0	/* not there: not yet, or ended */
#define READY	1	/* ready_xid is set */
#define SUSPENDED 2
byte state[3];
byte ready_xid[3];
byte life;		/* of P: 1 as invoked, 2 as retried; stands for what names the wait its children belong to */
byte pending;		/* children that P has not heard of */
bool journal;		/* P may have saved steps */
byte locked;		/* rows that open transactions hold locked, a bit each */

/* steps of P, and what history has of them */
byte step;		/* 0: not saved; else the node that ran it, + 1 */
byte step_xid;		/* the run that saved it */
byte outcomes;		/* of which children P has the outcome, a bit each: 1 and 2 */

/* wakes: the number that wrote it, 0: no such row. For each life of P and each child; then those that cancel the child */
byte wake[6];
#define WAKE(l, c)	((l) * 2 + (c) - 3)
#define STOP(c)		((c) + 3)
bool orphan;		/* the second child was retried: it is nobody's */

/* the shard's row, its advisory lock, and the next number to be drawn */
byte owner;		/* node + 1 */
byte epoch;
byte lock;		/* node + 1, whose writer's session holds it */
byte note_below;	/* runs made ready earlier may have been run by a former owner that did not release it */
byte next = 1;

/* the client's open transaction */
byte client_xid;

/* the writers' sessions */
#define IDLE	0
#define OPEN	1	/* a statement was sent, and has begun */
#define ANSWERED 2	/* it is committed; its answer is on the way */
#define DEAD	3	/* ended, and the node has not noticed */
byte session[2];
byte xid[2];		/* of the open transaction; 0: it has drawn none */

/* statements */
#define TAKE	1
#define RELEASE	2
#define STEP	3
#define SUSPEND	4
#define DONE	5
#define FAIL	6
#define WAKES	7
#define CANCEL	8	/* a child, because of a wake */
byte what[2];
byte which[2];		/* the execution, or the wakes as bits */
bool hit[2];		/* it found its row, which it has locked; the answer to STEP */
bool alone[2];		/* its snapshot shows no other child: only NO_WAKES_LOG asks */

/* ---- what a node remembers ---- */

bool own[2];
byte known_epoch[2];	/* under which it had the shard, 0: it had not */
byte cursor[2];
int late[2];		/* numbers below the cursor that were in progress, as bits */
bool handed[2];		/* it has handed P out before */
byte heard[2];		/* wakes that were read, as bits */

/* its runs: one for each execution, at n * 3 + execution. A row whose place is taken by a former run is read later */
#define FREE	0
#define BUFFERED 1
#define STEP_DUE 2	/* a handler has it, and waits for STEP_OK */
#define STEP_SENT 3
#define END_DUE	4	/* its handler has ended it */
#define END_SENT 5
byte phase[6];
byte run_xid[6];
byte run_epoch[6];	/* under which it was read; for the claims */
byte run_life[6];	/* of P when it was read; for the claims */
byte ending[2];		/* how P's run ended: SUSPEND, DONE, FAIL */
bool has_step[2];	/* the handler of P has its step's result … */
byte has[2];		/* … and these outcomes */
bool again[2];		/* the step was sent before, on a session that ended */
#define RUN(n, e)	((n) * 3 + (e))

/* ---- for the claims ---- */

byte acknowledged;	/* the value for which STEP_OK was given first */
byte ended;		/* per execution and life, a bit each; and one for the second child as nobody's */
byte counted;		/* wakes that were counted, a bit each */
bool invoked;

byte cuts = CUTS, crashes = CRASHES, gives = GIVES, fails = FAILS, cancels = CANCELS, retries = RETRIES, agains = AGAINS;

/* ---- PostgreSQL ---- */

#define bit(e)		(1 << (e))
#define in_progress(x)	((x) != 0 && ((x) == client_xid || (x) == xid[0] || (x) == xid[1]))
#define both		3

#ifdef NO_RUN_PAIR
#define current(e, x)	(state[e] != GONE)
#else
#define current(e, x)	(state[e] == READY && ready_xid[e] == (x))
#endif

#define ended_bit(e)	((e) == 2 && orphan -> bit(6) : bit((e) * 2 + life - 1))

/* An execution ends, by an outcome or by a cancel; kin: P was there in the statement's snapshot. */
inline end_execution(e, x, kin, last) {
	claim(each_finished_once, !(ended & ended_bit(e)));
	ended = ended | ended_bit(e);
	state[e] = GONE;
	ready_xid[e] = 0;
	if
	/* Nobody waits for these any more. */
	:: e == P && x != 0 && state[1] != GONE -> wake[STOP(1)] = x
	:: e == P && x != 0 && state[2] != GONE && !orphan -> wake[STOP(2)] = x
	:: e != P && kin && !(e == 2 && orphan) ->
#ifdef NO_WAKES_LOG
		/* The waiting row is written at once: it is made ready by whoever saw no other child. */
		outcomes = outcomes | e;
		if
		:: last && state[P] == SUSPENDED -> state[P] = READY; ready_xid[P] = x; journal = true
		:: else
		fi
#else
		wake[WAKE(life, e)] = x
#endif
	:: else
	fi
}

#ifdef NO_WAIT_PAIR
#define of_this_wait(w)	true
#else
#define of_this_wait(w)	((w) / 2 + 1 == life)
#endif

/* take_wakes: what another statement has deleted before is not counted again. */
inline take_wakes(mask, x) {
	w = 0;
	do
	:: w < 4 ->
		if
		:: (mask & bit(w)) && wake[w] != 0 ->
			wake[w] = 0;
			if
			:: hit[_pid] && of_this_wait(w) ->
				claim(every_wake_counted_once, !(counted & bit(w)) && w / 2 + 1 == life && (ANY || state[P] == SUSPENDED));
				counted = counted | bit(w);
				outcomes = outcomes | (w % 2 + 1);
				if
				:: pending > 0 -> pending--
				:: else
				fi;
				if
				:: pending == 0 && state[P] == SUSPENDED ->
					claim(every_wake_counted_once, outcomes == both || (ANY && outcomes != 0));
					state[P] = READY; ready_xid[P] = x; journal = true
				:: else
				fi
			:: hit[_pid] && !(of_this_wait(w)) -> reach(wake_of_former_wait)
			:: else -> reach(wake_without_parent)
			fi
		:: else
		fi;
		w++
	:: else -> break
	od;
	w = 0
}

#ifdef NO_WAIT_PAIR
#define of_this_child(c) true
#else
#define of_this_child(c) (!((c) == 2 && orphan))
#endif

/* take_wakes, for a wake that is to cancel; the wake of a child that is cancelled finds no parent. */
inline take_stop(c, x) {
	if
	:: hit[_pid] && of_this_child(c) ->
		claim(every_wake_counted_once, wake[STOP(c)] == 0 || !((c) == 2 && orphan));
		if
		:: wake[STOP(c)] != 0 -> reach(child_of_ended_parent_cancelled); end_execution(c, x, state[P] != GONE, false)
		:: else
		fi
	:: hit[_pid] && !(of_this_child(c)) -> reach(cancel_of_former_life)
	:: else
	fi;
	wake[STOP(c)] = 0
}

inline suspend(x) {
	state[P] = SUSPENDED;
	ready_xid[P] = 0;
	journal = true;
	pending = 0;
	e = 1;
	do
	:: e <= 2 ->
		if
		:: !(has[_pid] & e) ->
			claim(each_finished_once, state[e] == GONE && !(ended & bit(e * 2 + life - 1)));
			pending++; state[e] = READY; ready_xid[e] = x
		:: else
		fi;
		e++
	:: else -> break
	od;
	e = 0;
	pending = (ANY && pending > 1 -> 1 : pending)
}

#define runs(n)		(what[n] >= STEP && what[n] <= FAIL)
#define locks(n)	(runs(n) || what[n] == CANCEL -> bit(which[n]) : (what[n] == WAKES -> bit(P) : 0))
/* Numbers are drawn by those that write one into a row; the others' do not matter. */
#define draws(n)	(what[n] == SUSPEND || what[n] == FAIL || what[n] == WAKES || what[n] == CANCEL || \
			(what[n] == DONE && (which[n] != P || state[1] != GONE || state[2] != GONE)))

#ifdef NO_NOTE_KEPT
#define forget_note	note_below = 0
#else
#define forget_note	skip
#endif

active [2] proctype Backend() {
	byte e, w;
end:	do
	/* Commit. */
	:: d_step { session[_pid] == OPEN ->
		if
		:: runs(_pid) && hit[_pid] ->
			claim(no_outcome_by_former_owner, lock == _pid + 1 && run_epoch[RUN(_pid, which[_pid])] == epoch);
			claim(each_finished_once, which[_pid] != P || run_life[RUN(_pid, P)] == life)
		:: else
		fi;
		if
		:: what[_pid] == TAKE ->
			/* The node's own, from before its session ended; else it gets a new epoch. */
			if
			:: owner == _pid + 1 && epoch == known_epoch[_pid] -> reach(taken_again); forget_note
			:: owner == 0 && epoch == 0 -> epoch++
			:: owner == 0 && epoch != 0 -> reach(taken_after_release); forget_note; epoch++
			:: else -> reach(taken_over); note_below = next; epoch++
			fi;
			owner = _pid + 1
		:: what[_pid] == RELEASE -> owner = 0
		:: what[_pid] == STEP ->
			if
			:: hit[_pid] && step == 0 -> step = _pid + 1; step_xid = run_xid[RUN(_pid, P)]
			:: hit[_pid] && step != 0 ->
				/* Used: an error of the handler, unless this is the same statement once more. */
				claim(no_acknowledged_step_overwritten, again[_pid] && step_xid == run_xid[RUN(_pid, P)]);
				reach(step_sent_twice)
			:: else -> reach(step_refused)
			fi
		:: what[_pid] == SUSPEND && hit[_pid] -> suspend(xid[_pid])
		:: what[_pid] == DONE && hit[_pid] -> end_execution(which[_pid], xid[_pid], state[P] != GONE, alone[_pid])
		:: what[_pid] == FAIL && hit[_pid] -> ready_xid[P] = xid[_pid]; journal = true
		:: what[_pid] == WAKES -> take_wakes(which[_pid], xid[_pid])
		:: what[_pid] == CANCEL -> take_stop(which[_pid], xid[_pid])
		:: runs(_pid) && what[_pid] != STEP && !hit[_pid] -> reach(outcome_finds_no_row)
		:: else
		fi;
		locked = locked & ~(hit[_pid] -> locks(_pid) : 0);
		xid[_pid] = 0;
		alone[_pid] = false;
		session[_pid] = ANSWERED }
	od
}

/* The session ends, and what it has not committed and all its locks with it. */
inline end_session(n) {
	if
	:: session[n] == OPEN -> locked = locked & ~(hit[n] -> locks(n) : 0)
	:: else
	fi;
	xid[n] = 0; what[n] = 0; which[n] = 0; hit[n] = false; alone[n] = false;
	lock = (lock == n + 1 -> 0 : lock)
}

/* ---- nodes ---- */

inline free_run(n, e) {
	phase[RUN(n, e)] = FREE; run_xid[RUN(n, e)] = 0; run_epoch[RUN(n, e)] = 0; run_life[RUN(n, e)] = 0;
	if
	:: e == P -> ending[n] = 0; has_step[n] = false; has[n] = 0; again[n] = false
	:: else
	fi
}

inline free_runs(n) {
	free_run(n, 0); free_run(n, 1); free_run(n, 2)
}

/* What a poll shows: what is committed and stands behind the cursor, or is of a late transaction. */
#define new(n, x)	((x) != 0 && ((x) >= cursor[n] || (late[n] & bit(x))))
#define shown(n, e)	(state[e] == READY && new(n, ready_xid[e]))
#define room(n, e)	(!shown(n, e) || phase[RUN(n, e)] == FREE || run_xid[RUN(n, e)] == ready_xid[e])
#define number(x)	(in_progress(x) -> bit(x) : 0)
#define all_in_progress	(number(client_xid) | number(xid[0]) | number(xid[1]))

/* Row e, if the poll shows it. A child ends as soon as it is read. */
inline read_row(n, e) {
	if
	:: shown(n, e) && phase[RUN(n, e)] == FREE ->
		phase[RUN(n, e)] = (e == P -> BUFFERED : END_DUE);
		run_xid[RUN(n, e)] = ready_xid[e];
		run_epoch[RUN(n, e)] = known_epoch[n];
		run_life[RUN(n, e)] = (e == P -> life : 0);
		if
		:: ready_xid[e] < cursor[n] -> reach(run_read_late)
		:: else
		fi
	:: else
	fi
}

inline read_wake(n, w) {
	if
	:: new(n, wake[w]) ->
		heard[n] = heard[n] | bit(w);
		if
		:: wake[w] < cursor[n] -> reach(wake_read_late)
		:: else
		fi
	:: else
	fi
}

#ifdef NO_JOURNAL_RULE
#define may_have_steps(n) journal
#else
#define may_have_steps(n) (journal || run_xid[RUN(n, P)] < note_below || handed[n])
#endif

/*
 * A statement is sent, and begins: it has found its row, locked it, and drawn its number. One whose row somebody else has
 * locked is sent later; in reality it waits, or is repeated, and looks at the row anew.
 */
inline send(n, s, e) {
	what[n] = s; which[n] = e;
	hit[n] = (runs(n) -> current(e, run_xid[RUN(n, e)]) : (s == WAKES -> state[P] != GONE :
	    (s == CANCEL -> state[e] != GONE : false)));
	locked = locked | (hit[n] -> locks(n) : 0);
	alone[n] = s == DONE && e != P && hit[n] && state[3 - e] == GONE;
	if
	:: draws(n) && hit[n] -> xid[n] = next; next++
	:: else
	fi;
	session[n] = OPEN
}

/* What became of a statement is not known: what was sent is due once more, what was only read is forgotten. */
inline unknown(n, e) {
	if
	:: phase[RUN(n, e)] == BUFFERED -> free_run(n, e)
	:: phase[RUN(n, e)] == STEP_SENT -> phase[RUN(n, e)] = STEP_DUE; again[n] = true
	:: phase[RUN(n, e)] == END_SENT -> phase[RUN(n, e)] = END_DUE
	:: else
	fi
}

/* P's handler, until it waits or ends. */
inline handle(n) {
	if
	:: !has_step[n] ->
		/* One whose node has lost the shard may run the step once more; it is refused. */
		claim(no_acknowledged_step_overwritten, acknowledged == 0 || lock != n + 1 || run_epoch[RUN(n, P)] != epoch ||
		    state[P] != READY || ready_xid[P] != run_xid[RUN(n, P)]);
		if
		:: acknowledged != 0 -> reach(step_run_again_by_former_owner)
		:: else
		fi;
		phase[RUN(n, P)] = STEP_DUE
	:: else ->
		ending[n] = (has[n] == both || (ANY && has[n] != 0) -> DONE : SUSPEND);
		phase[RUN(n, P)] = END_DUE
	fi
}

inline answered(n) {
	if
	:: what[n] == TAKE ->
#ifndef NO_EPOCH
		/* Somebody else has had it meanwhile. */
		if
		:: known_epoch[n] != epoch ->
			if
			:: phase[RUN(n, P)] >= STEP_DUE -> reach(run_dropped)
			:: else
			fi;
			free_runs(n)
		:: else
		fi;
#endif
		own[n] = true; known_epoch[n] = epoch;
		cursor[n] = 0; late[n] = 0
	:: what[n] == RELEASE ->
		own[n] = false; known_epoch[n] = 0; lock = 0;
		cursor[n] = 0; late[n] = 0; heard[n] = 0; handed[n] = false
	:: what[n] == STEP && hit[n] ->
		claim(no_acknowledged_step_overwritten, step == n + 1 && (acknowledged == 0 || acknowledged == step));
		acknowledged = step;
		has_step[n] = true; again[n] = false;
		handle(n)
	:: what[n] == STEP && !hit[n] -> free_run(n, P)
	:: what[n] == SUSPEND || what[n] == DONE || what[n] == FAIL -> free_run(n, which[n])
	:: else
	fi;
	what[n] = 0; which[n] = 0; hit[n] = false;
	session[n] = IDLE
}

#define may_send(n, e)	(session[n] == IDLE && own[n] && !(locked & bit(e)))

#define n	(_pid - 2)

active [2] proctype Node() {
	byte w;
end:	do
	/* The lock, then, when it is granted, the row of the shard. */
	:: d_step { session[n] == IDLE && !own[n] && lock == 0 && (epoch != 0 || n == 0) -> lock = n + 1; send(n, TAKE, P) }
	:: d_step { session[n] == ANSWERED -> answered(n) }
	:: d_step { session[n] == DEAD ->
		own[n] = false; heard[n] = 0; cursor[n] = 0; late[n] = 0;
		unknown(n, 0); unknown(n, 1); unknown(n, 2);
		session[n] = IDLE }
	:: d_step { gives > 0 && session[n] == IDLE && own[n] && heard[n] == 0 &&
	    phase[RUN(n, 0)] <= BUFFERED && phase[RUN(n, 1)] == FREE && phase[RUN(n, 2)] == FREE ->
		gives--; free_run(n, 0); own[n] = false; send(n, RELEASE, P) }

	/* A poll, on a connection of its own; it is not known whether the shard is still owned. */
	:: d_step { own[n] && (cursor[n] != next || (late[n] & ~all_in_progress)) && room(n, 0) && room(n, 1) && room(n, 2) ->
		read_row(n, 0); read_row(n, 1); read_row(n, 2);
		read_wake(n, 0); read_wake(n, 1); read_wake(n, 2); read_wake(n, 3); read_wake(n, 4); read_wake(n, 5);
#ifndef NO_LATE_LIST
		late[n] = all_in_progress;
#endif
		cursor[n] = next }

	/* To the handler, with its journal. */
	:: d_step { phase[RUN(n, P)] == BUFFERED ->
		if
		:: state[P] != READY || ready_xid[P] != run_xid[RUN(n, P)] -> free_run(n, 0)
		:: else ->
			has_step[n] = may_have_steps(n) && step != 0;
			has[n] = (may_have_steps(n) -> outcomes : 0);
			handed[n] = true;
			handle(n)
		fi }

	/* What is due, by the writer. The children are alike: the first is the first. */
	:: d_step { may_send(n, P) && phase[RUN(n, P)] == STEP_DUE -> phase[RUN(n, P)] = STEP_SENT; send(n, STEP, P) }
	:: d_step { fails > 0 && phase[RUN(n, P)] == END_DUE && ending[n] != FAIL -> fails--; ending[n] = FAIL }
	:: d_step { may_send(n, P) && phase[RUN(n, P)] == END_DUE -> phase[RUN(n, P)] = END_SENT; send(n, ending[n], P) }
	:: d_step { may_send(n, 1) && phase[RUN(n, 1)] == END_DUE -> phase[RUN(n, 1)] = END_SENT; send(n, DONE, 1) }
	:: d_step { may_send(n, 2) && phase[RUN(n, 2)] == END_DUE && phase[RUN(n, 1)] != END_DUE ->
		phase[RUN(n, 2)] = END_SENT; send(n, DONE, 2) }
	:: d_step { may_send(n, P) && (heard[n] & 15) -> send(n, WAKES, heard[n] & 15); heard[n] = heard[n] & 48 }
	:: d_step { may_send(n, 1) && (heard[n] & bit(STOP(1))) -> send(n, CANCEL, 1); heard[n] = heard[n] & ~bit(STOP(1)) }
	:: d_step { may_send(n, 2) && (heard[n] & bit(STOP(2))) -> send(n, CANCEL, 2); heard[n] = heard[n] & ~bit(STOP(2)) }
	od
}

#undef n

/* ---- everybody else ---- */

#define alive(e)	(state[e] != GONE -> bit(e) : 0)
#define family		(alive(0) | alive(1) | alive(2))

inline begin_cancel(c) {
	cancels--;
	locked = locked | bit(c);
	client_xid = next; next++;
	client_alone = state[3 - c] == GONE
}

inline commit_cancel(c) {
	end_execution(c, client_xid, state[P] != GONE, client_alone);
	locked = locked & ~bit(c);
	client_xid = 0; client_alone = false
}

active proctype Client() {
	bool client_alone;

	d_step { client_xid = next; next++ };
	d_step { state[P] = READY; ready_xid[P] = client_xid; life = 1; invoked = true; client_xid = 0 };
	do
	/* A parent takes its unfinished children along. */
	:: d_step { cancels > 0 && state[P] != GONE && !(locked & family) ->
		cancels--;
		end_execution(P, 0, false, false);
		state[1] = GONE; ready_xid[1] = 0; state[2] = GONE; ready_xid[2] = 0; pending = 0 }
	:: d_step { cancels > 0 && state[1] != GONE && !(locked & bit(1)) -> begin_cancel(1) };
	   d_step { commit_cancel(1) }
	:: d_step { cancels > 0 && state[2] != GONE && !(locked & bit(2)) -> begin_cancel(2) };
	   d_step { commit_cancel(2) }
	/* The row is copied back from history, with its steps; no run of this life has saved them. */
	:: d_step { retries > 0 && state[P] == GONE && state[1] == GONE && state[2] == GONE ->
		retries--;
		if
		:: wake[0] + wake[1] != 0 -> reach(retried_before_wakes_were_read)
		:: else
		fi;
		life++; state[P] = READY; ready_xid[P] = next; next++; journal = true; step_xid = 0 }
	/* So is that of a child, but for its parent. */
	:: d_step { agains > 0 && state[2] == GONE && (ended & bit(4)) ->
		agains--; orphan = true; state[2] = READY; ready_xid[2] = next; next++ }
	:: break
	od
}

inline cut(n) {
	cuts--;
	if
	:: session[n] == ANSWERED && what[n] == STEP -> reach(commit_of_step_unknown)
	:: session[n] == ANSWERED && what[n] == SUSPEND -> reach(commit_of_suspend_unknown)
	:: session[n] == ANSWERED && what[n] == WAKES -> reach(commit_of_wakes_unknown)
	:: session[n] == OPEN && hit[n] -> reach(rolled_back)
	:: else
	fi;
#ifdef NO_WRITER_LOCK
	lock = 0
#else
	end_session(n);
	session[n] = DEAD
#endif
}

inline crash(n) {
	crashes--;
	end_session(n);
	session[n] = IDLE;
	free_runs(n);
	own[n] = false; known_epoch[n] = 0; cursor[n] = 0; late[n] = 0; handed[n] = false; heard[n] = 0
}

/* Only whoever has, or is about to have, the lock has something to lose. */
active proctype Faults() {
end:	do
	:: d_step { cuts > 0 && lock == 1 -> cut(0) }
	:: d_step { cuts > 0 && lock == 2 -> cut(1) }
	:: d_step { crashes > 0 && (lock == 1 || known_epoch[0] != 0) -> crash(0) }
	:: d_step { crashes > 0 && (lock == 2 || known_epoch[1] != 0) -> crash(1) }
	od
}

/* When nothing can happen any more. */
active proctype Monitor() {
	timeout;
	claim(nothing_lost, invoked && family == 0 && (ended & bit(life - 1)) &&
	    wake[0] + wake[1] + wake[2] + wake[3] + wake[4] + wake[5] == 0)
}
