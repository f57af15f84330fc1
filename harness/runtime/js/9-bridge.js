// What the worker calls: one function, JSON text in, JSON text out. Nothing it returns or throws is a script's value.

// ── how a script ends ────────────────────────────────────────────────────────────────────────────────────────────

// The engine throws an InternalError for nothing but memory that ran out and strings longer than it can hold, and no
// script can make one (see powerless above): whoever has got hold of one, whatever it says by now, has been there.
// Short of memory for that error object, the engine throws null, as a script may, too: then only trying tells.
const isOutOfMemory = (error) => {
  if (error === null) return memoryIsUsedUp();
  try {
    return typeof error === 'object' && isPrototypeOf(InternalErrorPrototype, error);
  } catch {
    // A proxy that does not want to be asked.
    return false;
  }
};

const memoryIsUsedUp = () => {
  try {
    new NativeArrayBuffer(4096);
    return false;
  } catch {
    return true;
  }
};

// What the engine throws when the stack overflows, a script can throw, too. So this is only a claim: the worker looks
// at the stack itself.
const claimsStackOverflow = (error) => {
  if (!isError(error) || getPrototypeOf(error) !== RangeErrorPrototype) return false;
  const message = getOwnPropertyDescriptor(error, 'message');
  return message !== undefined && message.value === 'Maximum call stack size exceeded';
};

const NATIVE_ERRORS = [];
for (const type of [
  Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError, SuppressedError,
  DOMException,
]) {
  NATIVE_ERRORS[NATIVE_ERRORS.length] = [type.prototype, type.name];
}

// The built-in class of an error, by its prototypes: a script cannot make its error look like one of the host's.
const builtinClass = (error) => {
  try {
    for (let object = getPrototypeOf(error); object !== null; object = getPrototypeOf(object)) {
      for (let i = 0; i < NATIVE_ERRORS.length; i++) if (NATIVE_ERRORS[i][0] === object) return NATIVE_ERRORS[i][1];
    }
  } catch {
    // A proxy among them.
  }
  return 'Error';
};

const readText = (read, most) => {
  try {
    const value = read();
    return value === undefined ? '' : stringSlice(wellFormed(NativeString(value)), 0, most);
  } catch {
    return '';
  }
};

const MOST_MESSAGE = 4000;

const errorText = (error) => {
  if (isRefusal(error)) {
    const kind = error.limit === 0 ? 'lost' : 'large';
    return arrayJoin(['{"kind":"', kind, '","path":', quoted(error.path), ',"what":', quoted(error.what), '}'], '');
  }
  // Whether it was the script or the engine that threw null, the worker knows better.
  if (error === null) return '{"kind":"thrown","what":"object","text":"null","claims":"memory"}';
  if (isOutOfMemory(error)) return '{"kind":"memory"}';
  if (typeof error !== 'object' || !isErrorLike(error)) {
    let text = '';
    let shown = 'undefined';
    try {
      text = stringSlice(wellFormed(printable(error, 1)), 0, MOST_MESSAGE);
      shown = typeof error;
    } catch {
      text = 'something unprintable';
    }
    // With no memory left the engine may throw what is no value of the language at all.
    const claims = shown === 'unknown' ? '"memory"' : 'null';
    return arrayJoin(['{"kind":"thrown","what":', quoted(shown), ',"text":', quoted(text), ',"claims":', claims, '}'], '');
  }
  const origin = weakMapGet(ownErrors, error);
  const stack = isError(error) ? cleanStack(rawStack(error)) : readText(() => error.stack, MOST_MESSAGE);
  return arrayJoin(
    [
      '{"kind":"error","class":', quoted(builtinClass(error)),
      ',"name":', quoted(readText(() => error.name, 200)),
      ',"message":', quoted(readText(() => error.message, MOST_MESSAGE)),
      ',"stack":', quoted(stringSlice(stack ?? '', 0, MOST_MESSAGE)),
      ',"call":', typeof origin === 'number' ? NativeString(origin) : 'null',
      ',"refused":', typeof origin === 'string' ? quoted(origin) : 'null',
      ',"claims":', claimsStackOverflow(error) ? '"stack"' : 'null', behindText(error), '}',
    ],
    '',
  );
};

// What lies behind an error, in words: the chain of its causes, and the errors of an AggregateError.
const MOST_BEHIND = 5;
const behindText = (error) => {
  const causes = [];
  const errors = [];
  try {
    let cause = error.cause;
    for (let i = 0; i < MOST_BEHIND && cause !== undefined; i++) {
      causes[i] = quoted(describeThrown(cause));
      cause = typeof cause === 'object' && cause !== null ? cause.cause : undefined;
    }
    const list = builtinClass(error) === 'AggregateError' && isArray(error.errors) ? error.errors : [];
    for (let i = 0; i < list.length && i < MOST_BEHIND; i++) errors[i] = quoted(describeThrown(list[i]));
  } catch {
    // A getter threw. What was read before it is told.
  }
  return arrayJoin([',"causes":[', arrayJoin(causes, ','), '],"errors":[', arrayJoin(errors, ','), ']'], '');
};

// What is said of an error that nothing can be found out about, or for whose description no memory is left.
const UNPRINTABLE = '{"kind":"thrown","what":"object","text":"something unprintable","claims":"memory"}';

const endWithError = (error) => {
  if (state.ended) return;
  state.ended = true;
  let text = UNPRINTABLE;
  try {
    text = errorText(error);
  } catch {
    // Looking at it ran the script's own code, which threw once more.
  }
  state.ending = arrayJoin(['{"state":"error","error":', text, '}'], '');
};

const endWithValue = (value) => {
  if (state.ended) return;
  state.returning = true;
  const replaced = [];
  let text;
  try {
    text =
      value === undefined
        ? 'null'
        : toJson(value, {
            __proto__: null,
            limit: state.limits.result_bytes,
            depth: state.limits.json_depth,
            replaced,
            floats: true,
            signal: undefined,
          });
  } catch (error) {
    endWithError(error);
    return;
  }
  if (state.ended) return;
  state.ended = true;
  state.ending = arrayJoin(
    ['{"state":"ok","value":', stringify(text), ',"replaced":', stringify(arraySlice(replaced, 0, 20)), '}'],
    '',
  );
};

// ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────

const emptyOutbox = () => {
  outbox.calls = [];
  outbox.timers = [];
  outbox.cleared = [];
  outbox.cancelled = [];
  outbox.logs = [];
  outbox.progress = [];
  outbox.size = 0;
};

const clearMap = (map) => {
  const keys = [];
  mapForEach(map, (_, key) => {
    keys[keys.length] = key;
  });
  for (let i = 0; i < keys.length; i++) mapDelete(map, keys[i]);
};

const budgetMethods = {
  budget() {
    // What the host said with the last frame, and the calls made since, which it has not seen yet.
    const { limit, used: counted } = state.budget.tool_calls;
    const used = counted + state.callsMade;
    const calls = { limit, used, remaining: used < limit ? limit - used : 0 };
    return deepFreeze({ ...state.budget, tool_calls: calls });
  },
};

const start = (script, text) => {
  const job = parse(text);
  state.now = job.now;
  state.startedAt = job.now;
  state.ended = false;
  state.ending = '';
  state.lastCall = 0;
  state.lastTimer = 0;
  state.callsMade = 0;
  state.lookedAt = 0;
  state.arriving = [];
  state.returning = false;
  state.limits = job.limits;
  state.budget = job.budget ?? { tool_calls: { limit: job.limits.max_tool_calls, used: 0 } };
  state.shift = job.shift;
  emptyOutbox();
  clearMap(pendingCalls);
  clearMap(pendingTimers);
  records.length = 0;
  lostChains.length = 0;
  logging.left = job.limits.log_bytes;
  logging.droppedLines = 0;
  logging.droppedBytes = 0;
  logging.indent = 0;
  logging.timers = new NativeMap();
  logging.counts = new NativeMap();
  progressCounts.dropped = 0;
  refusals.calls = 0;
  seedChance(job.seed);
  current.tools = makeTools(job.tools);
  hidden(job.context, 'budget', freeze(budgetMethods.budget));
  current.context = deepFreeze(job.context);
  try {
    promiseThen(script(), endWithValue, endWithError);
  } catch (error) {
    endWithError(error);
  }
  return '';
};

const deliver = (text) => {
  const frame = parse(text);
  state.now = frame.now;
  if (frame.budget !== undefined) {
    state.budget = frame.budget;
    state.callsMade = 0;
  }
  const { items } = frame;
  state.arriving = items;
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    if (item.timer !== undefined) {
      fireTimer(item.timer);
      continue;
    }
    const record = mapGet(pendingCalls, item.call);
    if (record === undefined) continue;
    if (item.error !== undefined) settleCall(item.call, false, errorFromHost(item.error, record));
    else {
      const value = deepFreeze(item.value);
      settleCall(item.call, true, item.made_up === true ? madeUp(value, item.call) : value);
    }
  }
  state.arriving = [];
  return '';
};

// Calls that the script left behind: unsettled ones, and settled ones whose result or error nobody took.
const MOST_LEFT_BEHIND = 2000;

const leftBehind = () => {
  const texts = [];
  for (let i = 0; i < records.length && texts.length < MOST_LEFT_BEHIND; i++) {
    const record = records[i];
    if (record.settled && record.seen) continue;
    texts[texts.length] = arrayJoin(
      [
        '{"call":', NativeString(record.id), ',"awaited":', record.seen ? 'true' : 'false',
        ',"rejection_lost":', wouldBeLost(record) ? 'true' : 'false', '}',
      ],
      '',
    );
  }
  for (let i = 0; i < lostChains.length && texts.length < 2 * MOST_LEFT_BEHIND; i++) {
    const record = lostChains[i];
    if (record.seen) continue;
    texts[texts.length] = arrayJoin(
      [
        '{"call":', NativeString(record.id), ',"awaited":true,"rejection_lost":true,"lost":',
        quoted(record.thrown), '}',
      ],
      '',
    );
  }
  return arrayJoin(['[', arrayJoin(texts, ','), ']'], '');
};

// Everything since the last frame, and whether the script waits (for calls or timers), is stuck, or has ended.
const collect = () => {
  const waiting = mapSize(pendingCalls) + mapSize(pendingTimers) > 0;
  const ending = state.ended ? state.ending : waiting ? '{"state":"wait"}' : '{"state":"stuck"}';
  const text = arrayJoin(
    [
      '{"ending":', ending,
      ',"calls":[', arrayJoin(outbox.calls, ','),
      '],"timers":[', arrayJoin(outbox.timers, ','),
      '],"cleared":[', arrayJoin(outbox.cleared, ','),
      '],"cancelled":[', arrayJoin(outbox.cancelled, ','),
      '],"logs":[', arrayJoin(outbox.logs, ','),
      '],"progress":[', arrayJoin(outbox.progress, ','),
      '],"dropped":{"log_lines":', NativeString(logging.droppedLines),
      ',"log_bytes":', NativeString(logging.droppedBytes),
      ',"progress":', NativeString(progressCounts.dropped),
      ',"calls":', NativeString(refusals.calls),
      '},"looked_at":', NativeString(state.lookedAt),
      ',"left_behind":', state.ended ? leftBehind() : '[]', '}',
    ],
    '',
  );
  emptyOutbox();
  // The next script is compiled before it starts; its positions are its own.
  if (state.ended) state.shift = null;
  return text;
};

harden();
const problems = verify();

const operate = (operation, text, script) => {
  switch (operation) {
    case 'start':
      return start(script, text);
    case 'deliver':
      return deliver(text);
    case 'collect':
      return collect();
    case 'problems':
      return stringify(problems);
    default:
      throw new NativeError('unknown operation');
  }
};

// The binding would turn an exception into text by itself, and so run what a script has put into it, outside of every
// limit. So none gets out: what says that something was thrown is a text of its own.
const THREW = '!';

return (operation, text, script) => {
  try {
    return operate(operation, text, script);
  } catch {
    return THREW;
  }
};
