// Calls of tools, and what became of the promises they returned.
//
// A call returns a ToolPromise, a private subclass of Promise. `await`, Promise.all and their like take the thenable
// path for it, because its `constructor` is not Promise, and so call its `then`: that is how a call nobody awaited is
// told from one that was. The constructor is a foreign object with a species, since the engine's `finally` needs one.

const state = {
  __proto__: null,
  now: 0, // milliseconds since the epoch; moves only when the host says so
  startedAt: 0,
  ended: false, // the script's own promise is settled, or something uncatchable happened
  ending: '', // JSON text of how it ended
  returning: false, // its result is being written
  lastCall: 0,
  lastTimer: 0,
  callsMade: 0, // since the host's last frame
  budget: null, // what the host said with it
  limits: null,
  shift: null, // where the host inserted text into the script: { line, column, width }
  arriving: [], // the items of the frame that is being delivered
  lookedAt: 0, // id of the first call whose made-up result the script looked into
};

// What the next frame to the host carries: JSON texts, in order.
const outbox = { __proto__: null, calls: [], timers: [], cleared: [], cancelled: [], logs: [], progress: [], size: 0 };

const pendingCalls = new NativeMap(); // id -> record
const pendingTimers = new NativeMap(); // id -> callback
const records = []; // every call's record, by order of issue
const lostChains = []; // promises derived from a call that were rejected with nobody listening
const ownErrors = new NativeWeakMap(); // error -> id of the call it came from, or its type if this prelude made it

// ── where in the script ──────────────────────────────────────────────────────────────────────────────────────────

// This prelude is compiled far below any line a script can have.
const FIRST_PRELUDE_LINE = 1_200_000;
const FRAME_MARK = '<input>:';

// One frame of a raw stack (`    at f (<input>:3:7)`; without name and brackets where compiling failed) ->
// `[name, line, column]` of the script, or null for frames of this prelude. A function's name may hold anything but
// comes first, so the position is read from the right.
const frameOf = (text) => {
  const at = stringLastIndexOf(text, FRAME_MARK);
  if (at < 0) return null;
  const colon = stringLastIndexOf(text, ':');
  const bracketed = text[text.length - 1] === ')';
  const line = +stringSlice(text, at + FRAME_MARK.length, colon);
  let column = +(bracketed ? stringSlice(text, colon + 1, -1) : stringSlice(text, colon + 1));
  // A function's name may look like a place, too. What the engine writes are whole numbers.
  if (!(line < FIRST_PRELUDE_LINE) || trunc(line) !== line || trunc(column) !== column) return null;
  const { shift } = state;
  if (shift !== null && line === shift.line && column > shift.column) column -= shift.width;
  // The wrapper around the script takes the first line.
  return [bracketed ? stringSlice(text, 7, at - 2) : '<anonymous>', line - 1, column < 1 ? 1 : column];
};

const scriptFrames = (raw, most) => {
  const frames = [];
  for (let i = 0; frames.length < most; ) {
    const end = stringIndexOf(raw, '\n', i);
    if (end < 0) break;
    const frame = frameOf(stringSlice(raw, i, end));
    if (frame !== null && frame[1] >= 1) frames[frames.length] = frame;
    i = end + 1;
  }
  return frames;
};

const stackText = (frames) => {
  const lines = [];
  for (let i = 0; i < frames.length; i++) {
    const [name, line, column] = frames[i];
    lines[i] = `    at ${name} (<script>:${line}:${column})\n`;
  }
  return arrayJoin(lines, '');
};

// The line of the script that called into this prelude. The frames above it are mostly those of the time before.
let framesAbove = '';
const callerLine = () => {
  const raw = rawStack(new NativeError());
  let from = stringStartsWith(raw, framesAbove) ? framesAbove.length : 0;
  for (;;) {
    const end = stringIndexOf(raw, '\n', from);
    if (end < 0) return null;
    const frame = frameOf(stringSlice(raw, from, end));
    if (frame !== null && frame[1] >= 1) {
      if (from !== framesAbove.length) framesAbove = stringSlice(raw, 0, from);
      return frame[1];
    }
    from = end + 1;
  }
};

// ── promises that know whether anybody waits for them ────────────────────────────────────────────────────────────

// A record belongs to a call's promise or to one derived from it with `then`:
// { id, name, line, seen, settled, catches, derived: [records] }.
const recordFor = (id, name, line, catches) => ({
  __proto__: null,
  id,
  name,
  line,
  seen: false,
  settled: false,
  catches,
  derived: [],
  thrown: '', // what a derived promise was rejected with, in words, if nobody had asked for it by then
  resolve: null,
  reject: null,
});

let makeToolPromise;
let recordOf;

class ToolPromise extends NativePromise {
  #record = null;
  static {
    // No static methods: a script can reach this class through the species of a call's promise.
    makeToolPromise = (record) => {
      const promise = new ToolPromise((resolve, reject) => {
        record.resolve = resolve;
        record.reject = reject;
      });
      promise.#record = record;
      return promise;
    };
    recordOf = (value) => (typeof value === 'object' && value !== null && #record in value ? value.#record : null);
  }
  finally(onFinally) {
    const derived = promiseFinally(this, onFinally);
    const record = recordOf(derived);
    // What `finally` hands to `then` only passes a rejection on.
    if (record !== null) record.catches = false;
    return derived;
  }
  then(onFulfilled, onRejected) {
    const derived = promiseThen(this, onFulfilled, onRejected);
    if (#record in this && this.#record !== null) {
      const record = this.#record;
      record.seen = true;
      if (typeof derived === 'object' && derived !== null && #record in derived) {
        const next = recordFor(record.id, record.name, record.line, typeof onRejected === 'function');
        derived.#record = next;
        record.derived[record.derived.length] = next;
        promiseThen(derived, undefined, (error) => {
          // Put into words here, in a job, and not when the last frame is written: what runs of the script's then would
          // leave jobs behind, which the next script of the same worker would find.
          if (next.seen) return;
          next.thrown = describeThrown(error);
          lostChains[lostChains.length] = next;
        });
      }
    }
    return derived;
  }
  toJSON() {
    throw new NativeTypeError(`${unawaited(this) ?? 'a promise'}; await it first`);
  }
  toString() {
    const waiting = unawaited(this);
    if (waiting !== null) throw new NativeTypeError(waiting);
    return '[object Promise]';
  }
}
defineProperty(ToolPromise.prototype, 'constructor', {
  __proto__: null,
  value: freeze({ __proto__: null, [Symbol.species]: ToolPromise }),
});

const unawaited = (value) => {
  const record = recordOf(value);
  return record === null ? null : `a promise: tools.${record.name}(…) at line ${record.line} was not awaited`;
};

// Whether a rejection of this promise would reach nobody.
const wouldBeLost = (record) => {
  if (!record.seen) return true;
  const stack = [record];
  while (stack.length > 0) {
    const { derived } = stack[stack.length - 1];
    stack.length--;
    for (let i = 0; i < derived.length; i++) {
      const next = derived[i];
      if (next.catches) continue;
      if (!next.seen) return true;
      stack[stack.length] = next;
    }
  }
  return false;
};

// ── errors that come from the host ───────────────────────────────────────────────────────────────────────────────

const errorFromHost = (info, record) => {
  const error = new NativeError(info.message);
  hidden(error, 'name', info.type);
  hidden(error, 'retryable', info.retryable);
  hidden(error, 'category', info.category);
  hidden(error, 'details', deepFreeze(info.details));
  const line = record.line === null ? 0 : record.line;
  hidden(error, 'stack', `    at tools.${record.name} (<script>:${line}:1)\n`);
  weakMapSet(ownErrors, error, record.id);
  return error;
};

// ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

// In UTF-8 a text is at most three times as long as in UTF-16 units. Half of the frame is left to how the script ends.
const fitsInFrame = (units) => (outbox.size + units) * 6 <= state.limits.frame_bytes;

const post = (box, text) => {
  box[box.length] = text;
  outbox.size += text.length;
};

const refusals = { __proto__: null, calls: 0 }; // calls that never became one, since too many were unsettled

const refuse = (type, category, message) => {
  const error = new NativeError(message);
  hidden(error, 'name', type);
  hidden(error, 'retryable', category === 'RESOURCE');
  hidden(error, 'category', category);
  weakMapSet(ownErrors, error, type);
  return error;
};

// The AbortSignal of a call stands in its second argument, `{ signal }`, or among the properties of its first.
const signalOf = (list) => {
  const options = list[1];
  if (typeof options !== 'object' || options === null) return null;
  const { signal } = options;
  return isAbortSignal(signal) ? signal : null;
};

const argumentRules = (signal) => ({
  __proto__: null,
  limit: state.limits.argument_bytes + 2,
  depth: state.limits.json_depth + 1,
  replaced: null,
  floats: false,
  signal,
});

const callTool = (name, list) => {
  if (state.ended) {
    return NativePromise.reject(refuse('ToolCancelledError', 'PERMANENT', `tools.${name}: the script has ended`));
  }
  const line = callerLine();
  let text = 'null';
  let problem = 'null';
  let signal = null;
  let aborted = false;
  try {
    if (list.length > 1) {
      signal = signalOf(list);
      if (signal !== null) list = [list[0]];
    }
    // With no signal so far, one among the properties is looked for.
    const rules = argumentRules(signal === null ? null : undefined);
    text = toJson(list, rules);
    if (signal === null) signal = rules.signal;
    aborted = signal !== null && signalAborted(signal);
  } catch (error) {
    if (isRefusal(error)) {
      // The list of arguments is not the script's business: `$[0].a` is `$.a` there.
      const path = stringStartsWith(error.path, '$[0]') ? arrayJoin(['$', stringSlice(error.path, 4)], '') : error.path;
      const what = error.limit === 0 ? error.what : `more than ${state.limits.argument_bytes} bytes (argument_bytes)`;
      problem = arrayJoin(['{"path":', quoted(path), ',"what":', quoted(what), '}'], '');
    } else {
      if (isOutOfMemory(error)) throw error;
      problem = arrayJoin(['{"path":"$","what":', quoted(`unreadable: ${describeThrown(error)}`), '}'], '');
    }
  }
  if (state.ended) {
    return NativePromise.reject(refuse('ToolCancelledError', 'PERMANENT', `tools.${name}: the script has ended`));
  }
  const { limits } = state;
  if (mapSize(pendingCalls) + mapSize(pendingTimers) >= limits.max_pending_calls) {
    refusals.calls++;
    return NativePromise.reject(
      refuse(
        'ConcurrencyLimitError',
        'RESOURCE',
        `tools.${name}: ${limits.max_pending_calls} calls and timers are unsettled already (max_pending_calls); await some of them first`,
      ),
    );
  }
  // Calls that are aborted at once are never pending, but are as much work to the host.
  const many = outbox.calls.length >= limits.max_pending_calls;
  // Quoting the arguments at most doubles them.
  if (many || (!fitsInFrame(text.length * 2 + name.length * 6) && outbox.calls.length > 0)) {
    refusals.calls++;
    return NativePromise.reject(
      refuse(
        'ConcurrencyLimitError',
        'RESOURCE',
        `tools.${name}: the calls made at once ${
          many ? 'are more than may be pending (max_pending_calls)' : 'carry more data than one frame holds (frame_bytes)'
        }; await some of them first`,
      ),
    );
  }
  const id = ++state.lastCall;
  state.callsMade++;
  const record = recordFor(id, name, line, false);
  const promise = makeToolPromise(record);
  records[records.length] = record;
  mapSet(pendingCalls, id, record);
  const args = text === 'null' ? text : stringify(text);
  // Long texts put together like this stay in pieces inside the engine until the frame is joined.
  const head = '{"id":' + id + ',"tool":' + quoted(name) + ',"args":' + args + ',"line":' + line;
  post(outbox.calls, head + ',"problem":' + problem + ',"aborted":' + aborted + '}');
  if (aborted) {
    settleCall(id, false, signalReason(signal));
  } else if (signal !== null) {
    onAbort(signal, () => {
      if (!mapHas(pendingCalls, id)) return;
      if (!isArriving(id)) post(outbox.cancelled, NativeString(id));
      settleCall(id, false, signalReason(signal));
    });
  }
  return promise;
};

// Whether the frame that is being delivered brings this call's result. Then the host has settled it, and a timer of the
// same frame that aborts it is in time for the script only.
const isArriving = (id) => {
  const { arriving } = state;
  for (let i = 0; i < arriving.length; i++) if (arriving[i].call === id) return true;
  return false;
};

const settleCall = (id, fulfilled, value) => {
  const record = mapGet(pendingCalls, id);
  if (record === undefined) return;
  mapDelete(pendingCalls, id);
  record.settled = true;
  if (fulfilled) record.resolve(value);
  else record.reject(value);
};
