// Values to JSON text and back. Unlike JSON.stringify, what JSON would lose is an error that names its path.
//
// Documented conversions: Map -> object (string keys only), Set -> array, Date -> ISO string, Error -> object with
// name, message and its own enumerable properties, boxed primitives -> primitives, -0 -> 0; a property whose value is
// undefined is left out. `toJSON` is honoured.

// Thrown here, caught in this prelude, never seen by a script; the private field is what a script cannot imitate.
class Refusal {
  #mine = true;
  constructor(path, what, limit) {
    this.path = path;
    this.what = what;
    this.limit = limit;
  }
  static is(value) {
    return typeof value === 'object' && value !== null && #mine in value;
  }
}
const isRefusal = Refusal.is;
const lost = (frame, key, what) => new Refusal(pathOf(frame, key), what, 0);
const tooLarge = (limit) => new Refusal('$', `larger than ${limit} bytes`, limit);

const isPlainName = (text) => {
  for (let i = 0; i < text.length; i++) {
    const c = stringCharCodeAt(text, i);
    const letter = (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95 || c === 36;
    if (!letter && !(i > 0 && c >= 48 && c <= 57)) return false;
  }
  return text.length > 0;
};

// `$.rows[3].id`. A frame is one open container; frames are linked from the innermost outwards.
const pathOf = (frame, key) => {
  const parts = [];
  for (let f = frame, k = key; f !== null; k = f.key, f = f.up) {
    const part = typeof k === 'number' ? `[${k}]` : isPlainName(k) ? `.${k}` : `[${quoted(k)}]`;
    parts[parts.length] = part;
    if (parts.length > 300) break;
  }
  let text = '$';
  for (let i = parts.length - 1; i >= 0; i--) text = arrayJoin([text, parts[i]], '');
  return text;
};

const ObjectPrototype = Object.prototype;
const ArrayPrototype = Array.prototype;
const RegExpPrototype = RegExp.prototype;
const DOMExceptionPrototype = NativeDOMException.prototype;

const brandedBy = (reader, value) => {
  try {
    reader(value);
    return true;
  } catch {
    return false;
  }
};
// Asking for the prototype first keeps the common answer, no, from costing an exception.
const isDate = (value) => isPrototypeOf(NativeDate.prototype, value) && brandedBy(dateGetTime, value);
const isMap = (value) => isPrototypeOf(NativeMap.prototype, value) && brandedBy(mapSize, value);
const isSet = (value) => isPrototypeOf(NativeSet.prototype, value) && brandedBy(setSize, value);
const isDOMException = (value) => isPrototypeOf(DOMExceptionPrototype, value) && brandedBy(domExceptionName, value);
// The engine does not count a DOMException among the errors.
const isErrorLike = (value) => isError(value) || isDOMException(value);
// A boxed primitive's primitive; undefined for anything else.
const unboxed = (value) => {
  if (isPrototypeOf(NativeNumber.prototype, value) && brandedBy(numberValueOf, value)) return numberValueOf(value);
  if (isPrototypeOf(NativeString.prototype, value) && brandedBy(stringValueOf, value)) return stringValueOf(value);
  if (isPrototypeOf(BooleanPrototype, value) && brandedBy(booleanValueOf, value)) return booleanValueOf(value);
  if (isPrototypeOf(BigIntPrototype, value) && brandedBy(bigIntValueOf, value)) return bigIntValueOf(value);
  return undefined;
};

const unserialisable = [
  [RegExpPrototype, 'a regular expression; use its source'],
  [NativePromise.prototype, 'a promise; await it first'],
  [NativeWeakMap.prototype, 'a WeakMap'],
  [WeakSet.prototype, 'a WeakSet'],
  [ArrayBuffer.prototype, 'an ArrayBuffer; convert it, for example with Array.from(new Uint8Array(…))'],
  [DataView.prototype, 'a DataView; read what it holds'],
  [getPrototypeOf(Int8Array.prototype), 'a typed array; convert it with Array.from(…)'],
  [Iterator.prototype, 'an iterator; collect it with […]'],
  [getPrototypeOf(getPrototypeOf(getPrototypeOf((async function* () {})()))), 'an async iterator; collect it first'],
];
// What a value that is neither data nor a container is, in words; null for any other.
const unserialisableKind = (value) => {
  for (let i = 0; i < unserialisable.length; i++) {
    if (isPrototypeOf(unserialisable[i][0], value)) return unserialisable[i][1];
  }
  return isAbortSignal(value) ? 'an AbortSignal' : null;
};

const kindOf = (value) => (value === null ? 'null' : typeof value === 'bigint' ? 'BigInt' : typeof value);

// One container that is being written: its items are `source[names[i]]`, or `source[i]` of an array.
const openObject = (value, source, up, key) => {
  const names = objectKeys(source);
  return { __proto__: null, up, key, value, source, names, count: names.length, index: 0, first: true, depth: 0 };
};
const openArray = (value, source, up, key) => (
  { __proto__: null, up, key, value, source, names: null, count: source.length, index: 0, first: true, depth: 0 }
);

// A value that is neither a plain object nor an array -> its container, or the JSON text of what it stands for.
const opened = (value, up, key, rules) => {
  if (isDate(value)) return dateText(value, up, key);
  const primitive = unboxed(value);
  if (primitive !== undefined) return primitiveText(primitive, up, key, rules);
  if (isMap(value)) {
    const source = create(null);
    mapForEach(value, (item, name) => {
      if (typeof name !== 'string') throw lost(up, key, `a Map with a key that is no string (${kindOf(name)})`);
      shown(source, name, item);
    });
    return openObject(value, source, up, key);
  }
  if (isSet(value)) {
    const source = [];
    setForEach(value, (item) => {
      source[source.length] = item;
    });
    return openArray(value, source, up, key);
  }
  if (isErrorLike(value)) {
    const source = create(null);
    shown(source, 'name', NativeString(value.name));
    shown(source, 'message', NativeString(value.message));
    const names = objectKeys(value);
    for (let i = 0; i < names.length; i++) shown(source, names[i], value[names[i]]);
    return openObject(value, source, up, key);
  }
  const kind = unserialisableKind(value);
  if (kind !== null) throw lost(up, key, kind);
  return openObject(value, value, up, key);
};

const MOST_EXACT = 9_007_199_254_740_991;
const floatText = (text) => (stringIncludes(text, 'e') ? text : text + '.0');

const primitiveText = (value, up, key, rules) => {
  switch (typeof value) {
    case 'string': {
      if (value.length > rules.limit) throw tooLarge(rules.limit);
      const text = stringify(value);
      // Without an escape there is no lone surrogate either, since JSON.stringify escapes those.
      if (text.length === value.length + 2 || stringIsWellFormed(value)) return text;
      if (!rules.replaced) throw lost(up, key, 'a string with a lone surrogate; apply toWellFormed() first');
      rules.replaced[rules.replaced.length] = pathOf(up, key);
      return quoted(value);
    }
    case 'number':
      // Infinities and NaN differ from themselves by NaN; of -0 this makes "0".
      if (value - value !== 0) throw lost(up, key, NativeString(value));
      // An integer that a float cannot hold exactly must not look exact.
      return rules.floats && !(value <= MOST_EXACT && value >= -MOST_EXACT) ? floatText('' + value) : '' + value;
    case 'boolean':
      return value ? 'true' : 'false';
    default:
      throw lost(up, key, kindOf(value));
  }
};

const dateText = (value, up, key) => {
  if (!isFinite(dateGetTime(value))) throw lost(up, key, 'an invalid Date');
  return stringify(dateToISOString(value));
};

// An object -> its container, or a text. `toJSON` is asked once, as JSON.stringify does.
const openedObject = (value, up, key, rules) => {
  let prototype = getPrototypeOf(value);
  if (prototype !== ObjectPrototype && prototype !== ArrayPrototype && prototype !== null) {
    const waiting = unawaited(value);
    if (waiting !== null) throw lost(up, key, waiting);
    if (isDate(value)) return dateText(value, up, key);
  }
  const method = value.toJSON;
  if (typeof method === 'function') {
    value = apply(method, value, [typeof key === 'number' ? NativeString(key) : key]);
    if (value === undefined) throw lost(up, key, 'undefined (from toJSON)');
    if (value === null) return 'null';
    if (typeof value !== 'object') return primitiveText(value, up, key, rules);
    const waiting = unawaited(value);
    if (waiting !== null) throw lost(up, key, waiting);
    prototype = getPrototypeOf(value);
  }
  if (isArray(value)) return openArray(value, value, up, key);
  if (prototype === ObjectPrototype || prototype === null) return openObject(value, value, up, key);
  return opened(value, up, key, rules);
};

// Refuses cycles and what is too deep; then the container may be written.
const entered = (container, rules) => {
  const { up, value } = container;
  container.depth = up === null ? 1 : up.depth + 1;
  for (let frame = up; frame !== null; frame = frame.up) {
    if (frame.value === value) throw lost(up, container.key, 'a cycle');
  }
  if (container.depth > rules.depth) throw lost(up, container.key, `nested deeper than ${state.limits.json_depth}`);
  return container;
};

// rules: { limit, depth, replaced, floats, signal }. `limit` in UTF-16 units of the text; `depth` in containers;
// `replaced` collects paths of strings with lone surrogates (they become U+FFFD there; without it they are errors). With
// `floats` integers beyond ±(2^53 − 1) are written as floats. Where `signal` is null, the first AbortSignal among the
// properties of a call's argument is put there instead of being written.
const toJson = (root, rules) => {
  let text = '';
  let frame = null;
  let key = '';
  let value = root;
  try {
    for (;;) {
      let piece;
      if (value === null) piece = 'null';
      else if (typeof value !== 'object') piece = primitiveText(value, frame, key, rules);
      else if (rules.signal === null && frame !== null && frame.depth === 2 && frame.names !== null && isAbortSignal(value)) {
        rules.signal = value;
        piece = '';
      } else piece = openedObject(value, frame, key, rules);

      if (piece !== '') {
        if (frame !== null) {
          if (frame.first) frame.first = false;
          else text += ',';
          if (frame.names !== null) {
            const name = stringify(key);
            if (name.length !== key.length + 2 && !stringIsWellFormed(key)) {
              throw lost(frame, key, 'a property name with a lone surrogate');
            }
            text = text + name + ':';
          }
        }
        if (typeof piece === 'string') text += piece;
        else {
          frame = entered(piece, rules);
          text += frame.names === null ? '[' : '{';
        }
      }
      // On to the next value, out of every container that is done.
      for (;;) {
        if (text.length > rules.limit) throw tooLarge(rules.limit);
        if (frame === null) return arrayJoin([text], '');
        const index = frame.index++;
        if (index < frame.count) {
          key = frame.names === null ? index : frame.names[index];
          value = frame.source[key];
          if (value !== undefined) break;
          if (frame.names === null) throw lost(frame, key, 'undefined');
        } else {
          text += frame.names === null ? ']' : '}';
          key = frame.key;
          frame = frame.up;
        }
      }
    }
  } catch (error) {
    throw unreadable(error, frame, key);
  }
};

// A getter, a Proxy trap or toJSON threw: keep the path, and what was thrown in words.
const unreadable = (error, frame, key) => {
  if (isRefusal(error) || isOutOfMemory(error)) return error;
  return lost(frame, key, `unreadable, reading it threw ${describeThrown(error)}`);
};

const describeThrown = (error) => {
  try {
    const text = isErrorLike(error) ? `${error.name}: ${error.message}` : NativeString(error);
    return arrayJoin([shortened(text, 300)], '');
  } catch {
    return 'something unprintable';
  }
};

// What the host sends is data: frozen all the way down, with keys such as `__proto__` as ordinary properties.
const deepFreeze = (root) => {
  if (root === null || typeof root !== 'object') return root;
  const queue = [root];
  for (let i = 0; i < queue.length; i++) {
    const object = queue[i];
    const names = objectKeys(object);
    for (let k = 0; k < names.length; k++) {
      const value = object[names[k]];
      if (value !== null && typeof value === 'object') queue[queue.length] = value;
    }
    freeze(object);
  }
  return root;
};
