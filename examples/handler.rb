#!/usr/bin/ruby
# A handler from scratch, written from docs/protocol.md. Needs msgpack (Debian: ruby-msgpack; else gem install msgpack).
#
#	ruby handler.rb                           (or: pgconductor run -- ruby handler.rb)
#	pgconductor invoke greet '{"name": "World"}' --wait
#
# Besides greet it has the tasks of docs/conform.md: pgconductor conform -- ruby handler.rb
require "json"
require "msgpack"
require "socket"

HELLO, WELCOME, RUN, DONE, FAIL, REJECT, CANCEL, DRAIN, BYE, LOG = 1, 2, 3, 4, 5, 6, 8, 9, 10, 11
CONCURRENCY = 8

unless ENV["PGCONDUCTOR_FD"]
  exec("pgconductor", "run", "--", "ruby", $0, *ARGV) rescue abort("pgconductor is not installed")
end
$worker = UNIXSocket.for_fd(ENV["PGCONDUCTOR_FD"].to_i)
$worker.close_on_exec = true              # programs started from here do not get the socket
$stdout.sync = true                       # lines are logged as they are printed
$lock = Mutex.new
$running = {}                             # exec => thread

# Any other exception is an ordinary failure.
class Failure < StandardError
  attr_reader :fields

  def initialize(message, **fields)
    super(message)
    @fields = fields
  end
end

class Cancelled < StandardError; end

def send_frame(type, exec, fields)
  body = [type, exec, fields].to_msgpack
  $lock.synchronize { $worker.write([body.bytesize].pack("N") + body) }
rescue SystemCallError
  exit!(1)                                # the worker has gone
end

# A task is called with its decoded payload and the number of its execution.
TASKS = {
  "greet" => ->(payload, _) { { greeting: "Hello, #{payload.fetch("name")}!" } },
  "conform.echo" => ->(payload, _) { payload },
  "conform.null" => ->(*) {},
  "conform.repeat" => ->(payload, _) { payload["text"] * payload["times"] },
  "conform.print" => ->(payload, _) { puts payload["text"] },
  "conform.sleep" => ->(payload, _) { sleep payload["ms"] / 1000.0; payload["ms"] },
  "conform.log" => ->(payload, exec) { send_frame(LOG, exec, payload.slice("level", "message")) && nil },
  "conform.fail" => ->(payload, _) {
    raise Failure.new(payload["message"], **payload.slice("retry", "after_ms").transform_keys(&:to_sym))
  },
}
ELSEWHERE = { "conform.elsewhere" => ->(*) {} }   # of the queue "other"

# Ruby's own messages need not be UTF-8.
def utf8(text)
  text.dup.force_encoding("UTF-8").scrub
end

def run(exec, fields)
  task = TASKS[fields["task"]] || ELSEWHERE.fetch(fields["task"])
  payload = JSON.parse(fields["event"]["payload"])
  result = Thread.handle_interrupt(Cancelled => :immediate) { JSON.generate(task.call(payload, exec)) }
  raise Failure.new("the result is too long", code: "oversize", retry: false) if result.bytesize > $max_payload
  send_frame(DONE, exec, { result: result })
rescue Exception => error                 # whatever a task raises is its failure
  fields = error.is_a?(Failure) ? error.fields : {}
  code = error.is_a?(Cancelled) ? "cancelled" : "app"
  send_frame(FAIL, exec, { code: code, type: error.class.name, message: utf8(error.message),
                           stack: utf8(error.backtrace.join("\n")) }.merge(fields))
end

queue = ENV["PGCONDUCTOR_QUEUE"]
tasks = []
tasks += TASKS.keys.map { |name| { name: name } } if [nil, "default"].include?(queue)
tasks += ELSEWHERE.keys.map { |name| { name: name, queue: "other" } } if [nil, "other"].include?(queue)
send_frame(HELLO, 0, { protocols: [1], sdk: "ruby", capabilities: %w[cancel drain log], concurrency: CONCURRENCY,
                       tasks: tasks })
Thread.handle_interrupt(Cancelled => :never) do    # but in tasks: see run
  while (head = $worker.read(4)) && head.bytesize == 4
    type, exec, fields = MessagePack.unpack($worker.read(head.unpack1("N")))
    case type
    when WELCOME then $max_payload = fields["max_payload"]
    when REJECT then abort("refused: #{fields["reason"]}")
    when RUN then $running[exec] = Thread.new(exec, fields) { |x, f| run(x, f) }
    when CANCEL then $running[exec]&.raise(Cancelled, fields["reason"])
    when DRAIN
      $running.each_value(&:join)
      send_frame(BYE, 0, {})
    end
    $running.delete_if { |_, thread| !thread.alive? }
  end
end
exit!(0)
