// console.*, captured: each line goes to the host as text. What is past `log_bytes` is counted, not kept.

const logging = { __proto__: null, left: 0, droppedLines: 0, droppedBytes: 0, indent: 0, timers: null, counts: null };

// Bytes that a line costs besides its text, as it does wherever it is kept: so that empty ones come to an end, too.
const LINE_COST = 16;

const MOST_DEPTH = 4;
const MOST_ITEMS = 100;
// Values that one line shows in all: what refers to the same list many times would be printed as many times.
const MOST_VALUES = 2000;
const showing = { __proto__: null, left: 0 };

// A value as a person wants to read it. Never throws; never calls what it shows, except getters of plain properties.
const inspect = (value, depth, open) => {
  if (--showing.left < 0) return '…';
  switch (typeof value) {
    case 'string':
      return depth === 0 ? wellFormed(value) : quoted(value);
    case 'bigint':
      return `${bigIntToString(value)}n`;
    case 'symbol':
      return wellFormed(symbolToString(value));
    case 'function':
      return `[${wellFormed(functionLabel(value))}]`;
    case 'object':
      return value === null ? 'null' : inspectObject(value, depth, open);
    default:
      return value === 0 && 1 / value < 0 ? '-0' : NativeString(value);
  }
};

const inspectObject = (value, depth, open) => {
  for (let i = 0; i < open.length; i++) if (open[i] === value) return '[circular]';
  const waiting = unawaited(value);
  if (waiting !== null) return `[${waiting}]`;
  if (isErrorLike(value)) {
    if (depth > 0) return `[${describeThrown(value)}]`;
    const stack = isError(value) ? stackText(scriptFrames(rawStack(value) ?? '', 10)) : '';
    return stack === '' ? describeThrown(value) : `${describeThrown(value)}\n${stringSlice(stack, 0, -1)}`;
  }
  if (isDate(value)) return isFinite(dateGetTime(value)) ? dateToISOString(value) : 'Invalid Date';
  if (isPrototypeOf(RegExpPrototype, value)) return wellFormed(regExpToString(value));
  if (isPrototypeOf(NativePromise.prototype, value)) return '[a promise]';
  const primitive = unboxed(value);
  if (primitive !== undefined) return `[boxed ${inspect(primitive, 1, open)}]`;
  if (depth >= MOST_DEPTH) return isArray(value) ? '[…]' : '{…}';
  const parts = [];
  const inner = arraySlice(open);
  inner[inner.length] = value;
  const add = (text) => {
    parts[parts.length] = text;
  };
  let count = 0;
  let [before, after] = ['{ ', ' }'];
  if (isArray(value)) {
    [before, after] = ['[ ', ' ]'];
    count = value.length;
    for (let i = 0; i < count && i < MOST_ITEMS && showing.left > 0; i++) add(inspect(value[i], depth + 1, inner));
  } else if (isMap(value)) {
    before = `Map(${mapSize(value)}) { `;
    count = mapSize(value);
    mapForEach(value, (item, key) => {
      if (parts.length < MOST_ITEMS && showing.left > 0) add(`${inspect(key, depth + 1, inner)} => ${inspect(item, depth + 1, inner)}`);
    });
  } else if (isSet(value)) {
    before = `Set(${setSize(value)}) { `;
    count = setSize(value);
    setForEach(value, (item) => {
      if (parts.length < MOST_ITEMS && showing.left > 0) add(inspect(item, depth + 1, inner));
    });
  } else {
    const names = objectKeys(value);
    count = names.length;
    for (let i = 0; i < count && i < MOST_ITEMS && showing.left > 0; i++) {
      const name = isPlainName(names[i]) ? names[i] : quoted(names[i]);
      add(`${name}: ${inspect(value[names[i]], depth + 1, inner)}`);
    }
  }
  if (count > parts.length) parts[parts.length] = `… ${count - parts.length} more`;
  if (parts.length === 0) return stringSlice(before, 0, -1) + stringSlice(after, 1);
  return arrayJoin([before, arrayJoin(parts, ', '), after], '');
};

const printable = (value, depth) => {
  try {
    showing.left = MOST_VALUES;
    return inspect(value, depth, []);
  } catch (error) {
    return isOutOfMemory(error) ? '[too large to print]' : `[unprintable: ${describeThrown(error)}]`;
  }
};

// `%s %d %i %f %j %o %O %c %%` in a first argument that is a string, as consoles elsewhere do.
const format = (list) => {
  const parts = [];
  let used = 0;
  if (typeof list[0] === 'string' && list.length > 1 && stringIncludes(list[0], '%')) {
    const template = list[0];
    let text = '';
    let from = 0;
    used = 1;
    for (let i = stringIndexOf(template, '%'); i >= 0 && i + 1 < template.length; i = stringIndexOf(template, '%', from)) {
      const letter = template[i + 1];
      text += stringSlice(template, from, i);
      from = i + 2;
      if (letter === '%') text += '%';
      else if (used < list.length && letter === 's') text += printable(list[used++], 0);
      else if (used < list.length && (letter === 'd' || letter === 'f')) text += printable(toNumber(list[used++]), 1);
      else if (used < list.length && letter === 'i') text += printable(trunc(toNumber(list[used++])), 1);
      else if (used < list.length && (letter === 'j' || letter === 'o' || letter === 'O')) text += printable(list[used++], 1);
      else if (used < list.length && letter === 'c') used++; // styles mean nothing in a log
      else text += stringSlice(template, i, i + 2);
    }
    parts[0] = text + stringSlice(template, from);
  }
  for (let i = used; i < list.length; i++) parts[parts.length] = printable(list[i], 0);
  return arrayJoin(parts, ' ');
};
const toNumber = (value) => (typeof value === 'number' ? value : typeof value === 'string' ? +value : NaN);

const log = (level, list) => {
  if (state.ended) return;
  const text = arrayJoin([stringRepeat('  ', logging.indent), wellFormed(format(list))], '');
  const size = utf8Length(text) + LINE_COST;
  if (size <= logging.left && writeLog(level, text)) {
    logging.left -= size;
    return;
  }
  // The line that no longer fits is cut where the space ends; from then on only counting happens.
  const kept = stringSlice(text, 0, trunc(logging.left / 4));
  logging.left = 0;
  logging.droppedLines++;
  logging.droppedBytes += size - LINE_COST;
  if (kept !== '' && writeLog(level, wellFormed(kept))) logging.droppedBytes -= utf8Length(kept);
};

// False if the frame to the host has no room left.
const writeLog = (level, text) => {
  const line = callerLine();
  const entry = arrayJoin(['["', level, '",', quoted(text), ',', line === null ? 'null' : NativeString(line), ']'], '');
  if (!fitsInFrame(entry.length)) return false;
  post(outbox.logs, entry);
  return true;
};

const labelled = (label) => (label === undefined ? 'default' : describeLabel(label));
const describeLabel = (label) => (typeof label === 'string' ? label : printable(label, 1));

const consoleMethods = {
  __proto__: null,
  log(...list) {
    log('log', list);
  },
  info(...list) {
    log('info', list);
  },
  warn(...list) {
    log('warn', list);
  },
  error(...list) {
    log('error', list);
  },
  debug(...list) {
    log('debug', list);
  },
  trace(...list) {
    const stack = stackText(scriptFrames(rawStack(new NativeError()), 10));
    log('debug', [arrayJoin([format(list), '\n', stack], '')]);
  },
  dir(value) {
    log('log', [printable(value, 0)]);
  },
  table(value) {
    log('log', [printable(value, 0)]);
  },
  assert(condition, ...list) {
    if (!condition) log('error', list.length === 0 ? ['Assertion failed'] : ['Assertion failed:', ...list]);
  },
  count(label) {
    const name = labelled(label);
    const count = (mapGet(logging.counts, name) ?? 0) + 1;
    mapSet(logging.counts, name, count);
    log('log', [`${name}: ${count}`]);
  },
  countReset(label) {
    mapDelete(logging.counts, labelled(label));
  },
  time(label) {
    mapSet(logging.timers, labelled(label), state.now);
  },
  timeLog(label, ...list) {
    const start = mapGet(logging.timers, labelled(label)) ?? state.now;
    log('log', [`${labelled(label)}: ${state.now - start} ms`, ...list]);
  },
  timeEnd(label) {
    consoleMethods.timeLog(label);
    mapDelete(logging.timers, labelled(label));
  },
  group(...list) {
    if (list.length > 0) log('log', list);
    if (logging.indent < 20) logging.indent++;
  },
  groupCollapsed(...list) {
    consoleMethods.group(...list);
  },
  groupEnd() {
    if (logging.indent > 0) logging.indent--;
  },
};
const console = create(ObjectPrototype);
for (const name of objectKeys(consoleMethods)) shown(console, name, consoleMethods[name]);
global('console', console);

// ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────

const MOST_PROGRESS_IN_A_FRAME = 200;
const MOST_PROGRESS_TEXT = 4000;
// `MAX_MESSAGE` in context.py.
const MOST_PROGRESS_SHOWN = 1000;
const progressRules = () => ({
  __proto__: null,
  limit: state.limits.argument_bytes,
  depth: state.limits.json_depth,
  replaced: null,
  floats: true,
  signal: undefined,
});
const progressCounts = { __proto__: null, dropped: 0 };

global(
  'progress',
  {
    progress(message, data) {
      if (state.ended) return;
      if (outbox.progress.length >= MOST_PROGRESS_IN_A_FRAME) {
        progressCounts.dropped++;
        return;
      }
      let text = 'null';
      if (data !== undefined) {
        try {
          text = toJson(data, progressRules());
        } catch (error) {
          if (!isRefusal(error)) throw error;
          throw refuse('SerializationError', 'VALIDATION', `progress: the data cannot be sent: at ${error.path} is ${error.what}; pass plain data`);
        }
      }
      if (!fitsInFrame(text.length * 2 + MOST_PROGRESS_TEXT * 6)) {
        progressCounts.dropped++;
        return;
      }
      const whole = typeof message === 'string' ? message : printable(message, 0);
      // The host cuts it, and says by how much, unless it is so long that the host cannot have seen all of it.
      const words = whole.length > MOST_PROGRESS_TEXT ? shortened(whole, MOST_PROGRESS_SHOWN) : whole;
      post(outbox.progress, arrayJoin(['[', quoted(words), ',', stringify(text), ']'], ''));
    },
  }.progress,
);
