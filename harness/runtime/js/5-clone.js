// structuredClone, as on the web, but that nothing can be transferred.

const notCloneable = (what) => domException(`${what} could not be cloned`, 'DataCloneError');
const typedArrayLength = getterOf(typedArrayPrototype, 'length');
const regExpSource = getterOf(RegExpPrototype, 'source');
// Unlike `slice`, this asks no constructor of the script's for the copy.
const copyOfBuffer = (buffer) => {
  const clone = new NativeArrayBuffer(arrayBufferLength(buffer));
  typedArraySet(new NativeUint8Array(clone), new NativeUint8Array(buffer));
  return clone;
};
const NativeRegExp = RegExp;
const NativeDataView = DataView;
const NativeObject = Object;
const typedArrays = create(null);
for (const type of [
  Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array,
  BigInt64Array, BigUint64Array, Float16Array, Float32Array, Float64Array,
]) {
  typedArrays[type.name] = type;
}
const errorTypes = create(null);
for (const type of [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError]) {
  errorTypes[type.name] = type;
}

// Clones without recursion: what is to be filled stands in a list, so depth is bounded by memory, not by the stack.
const structuredCloneOf = (root) => {
  const made = new NativeMap();
  const open = []; // clones that are still to be filled: { value, clone, fill }
  const remember = (value, clone, fill) => {
    mapSet(made, value, clone);
    if (fill !== null) open[open.length] = { __proto__: null, value, clone, fill };
    return clone;
  };
  const fillProperties = (value, clone) => {
    const names = objectKeys(value);
    for (let i = 0; i < names.length; i++) shown(clone, names[i], copy(value[names[i]]));
  };
  const fillMap = (value, clone) => mapForEach(value, (item, key) => mapSet(clone, copy(key), copy(item)));
  const fillSet = (value, clone) => setForEach(value, (item) => setAdd(clone, copy(item)));
  const fillError = (value, clone) => {
    if (value.cause !== undefined) hidden(clone, 'cause', copy(value.cause));
  };
  const copy = (value) => {
    if (typeof value !== 'object' || value === null) {
      if (typeof value === 'function') throw notCloneable(functionLabel(value));
      if (typeof value === 'symbol') throw notCloneable(symbolToString(value));
      return value;
    }
    const known = mapGet(made, value);
    if (known !== undefined) return known;
    const prototype = getPrototypeOf(value);
    if (prototype === ObjectPrototype || prototype === null) return remember(value, {}, fillProperties);
    if (isArray(value)) {
      const clone = [];
      clone.length = value.length;
      return remember(value, clone, fillProperties);
    }
    return copyOther(value);
  };
  const copyOther = (value) => {
    const waiting = unawaited(value);
    if (waiting !== null) throw notCloneable(waiting);
    if (isDate(value)) return remember(value, new NativeDate(dateGetTime(value)), null);
    if (isMap(value)) return remember(value, new NativeMap(), fillMap);
    if (isSet(value)) return remember(value, new NativeSet(), fillSet);
    if (isDOMException(value)) {
      return remember(value, domException(domExceptionMessage(value), domExceptionName(value)), null);
    }
    if (isError(value)) {
      const type = errorTypes[NativeString(value.name)] ?? NativeError;
      return remember(value, new type(NativeString(value.message)), fillError);
    }
    if (isPrototypeOf(NativeArrayBuffer.prototype, value) && brandedBy(arrayBufferLength, value)) {
      return remember(value, copyOfBuffer(value), null);
    }
    if (isView(value)) {
      const name = typedArrayName(value);
      const clone =
        name === undefined
          ? new NativeDataView(copy(dataViewBuffer(value)), dataViewOffset(value), dataViewBytes(value))
          : new typedArrays[name](copy(typedArrayBuffer(value)), typedArrayOffset(value), typedArrayLength(value));
      return remember(value, clone, null);
    }
    if (isPrototypeOf(RegExpPrototype, value)) return remember(value, new NativeRegExp(regExpSource(value), value.flags), null);
    const primitive = unboxed(value);
    if (primitive !== undefined) return remember(value, NativeObject(primitive), null);
    const kind = unserialisableKind(value);
    if (kind !== null) throw notCloneable(kind);
    return remember(value, {}, fillProperties);
  };
  const result = copy(root);
  while (open.length > 0) {
    const { value, clone, fill } = open[open.length - 1];
    open.length--;
    fill(value, clone);
  }
  return result;
};
const functionLabel = (value) => {
  const { name } = value;
  return typeof name === 'string' && name !== '' ? `function ${name}` : 'a function';
};
global(
  'structuredClone',
  {
    structuredClone(value, options) {
      if (options?.transfer !== undefined && options.transfer.length > 0) {
        throw notCloneable('a transferred object (nothing can be transferred here)');
      }
      return structuredCloneOf(value);
    },
  }.structuredClone,
);
