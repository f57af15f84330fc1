// What the rest of the prelude uses of the language, captured before any script runs. All files of this folder are
// joined in the order of their numbers into one function body, so a name declared here is visible in every later one.
//
// Nothing below looks up a method on a value that a script can reach: every call goes through a captured function.

const { apply, construct, defineProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys } = Reflect;
const { create, freeze, isFrozen, keys: objectKeys } = Object;
const { stringify, parse } = JSON;
const { isArray } = Array;
const { isFinite } = Number;
const { trunc } = Math;
const isView = ArrayBuffer.isView;
const isError = Error.isError;

const functionCall = Function.prototype.call;
const functionBind = Function.prototype.bind;
const uncurry = (method) => apply(functionBind, functionCall, [method]);
const getterOf = (object, name) => uncurry(getOwnPropertyDescriptor(object, name).get);

const arrayJoin = uncurry(Array.prototype.join);
const arraySlice = uncurry(Array.prototype.slice);
const isPrototypeOf = uncurry(Object.prototype.isPrototypeOf);
const stringCharCodeAt = uncurry(String.prototype.charCodeAt);
const stringIncludes = uncurry(String.prototype.includes);
const stringIndexOf = uncurry(String.prototype.indexOf);
const stringIsWellFormed = uncurry(String.prototype.isWellFormed);
const stringLastIndexOf = uncurry(String.prototype.lastIndexOf);
const stringRepeat = uncurry(String.prototype.repeat);
const stringSlice = uncurry(String.prototype.slice);
const stringStartsWith = uncurry(String.prototype.startsWith);
const stringTrim = uncurry(String.prototype.trim);
const stringToLowerCase = uncurry(String.prototype.toLowerCase);
const stringToWellFormed = uncurry(String.prototype.toWellFormed);
const symbolToString = uncurry(Symbol.prototype.toString);
const BigIntPrototype = BigInt.prototype;
const bigIntToString = uncurry(BigIntPrototype.toString);
const bigIntValueOf = uncurry(BigIntPrototype.valueOf);
const numberValueOf = uncurry(Number.prototype.valueOf);
const stringValueOf = uncurry(String.prototype.valueOf);
const BooleanPrototype = Boolean.prototype;
const booleanValueOf = uncurry(BooleanPrototype.valueOf);
const functionToString = uncurry(Function.prototype.toString);
const regExpExec = uncurry(RegExp.prototype.exec);
const regExpToString = uncurry(RegExp.prototype.toString);

const NativeDate = Date;
const dateGetTime = uncurry(NativeDate.prototype.getTime);
const dateToISOString = uncurry(NativeDate.prototype.toISOString);
const dateToString = uncurry(NativeDate.prototype.toString);

const NativeArrayBuffer = ArrayBuffer;
const arrayBufferLength = getterOf(NativeArrayBuffer.prototype, 'byteLength');
const NativeMap = Map;
const mapGet = uncurry(NativeMap.prototype.get);
const mapSet = uncurry(NativeMap.prototype.set);
const mapHas = uncurry(NativeMap.prototype.has);
const mapDelete = uncurry(NativeMap.prototype.delete);
const mapForEach = uncurry(NativeMap.prototype.forEach);
const mapSize = getterOf(NativeMap.prototype, 'size');

const NativeSet = Set;
const setAdd = uncurry(NativeSet.prototype.add);
const setHas = uncurry(NativeSet.prototype.has);
const setForEach = uncurry(NativeSet.prototype.forEach);
const setSize = getterOf(NativeSet.prototype, 'size');

const NativeWeakMap = WeakMap;
const weakMapGet = uncurry(NativeWeakMap.prototype.get);
const weakMapSet = uncurry(NativeWeakMap.prototype.set);

const NativePromise = Promise;
const promiseThen = uncurry(NativePromise.prototype.then);
const promiseFinally = uncurry(NativePromise.prototype.finally);
const settledPromise = NativePromise.resolve();

const NativeError = Error;
const NativeTypeError = TypeError;
const NativeRangeError = RangeError;
const NativeDOMException = DOMException;
const domExceptionName = getterOf(NativeDOMException.prototype, 'name');
const domExceptionMessage = getterOf(NativeDOMException.prototype, 'message');
const InternalErrorPrototype = InternalError.prototype;
const RangeErrorPrototype = RangeError.prototype;
// The engine keeps the stack of an error in a slot that scripts cannot write; this accessor reads it.
const rawStack = getterOf(NativeError.prototype, 'stack');

const NativeString = String;
const NativeNumber = Number;
const NativeProxy = Proxy;

// Descriptors have no prototype, so that nothing inherited is taken for a part of one.
const hidden = (object, name, value) =>
  defineProperty(object, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
const shown = (object, name, value) =>
  defineProperty(object, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });

const wellFormed = (text) => (stringIsWellFormed(text) ? text : stringToWellFormed(text));
const quoted = (text) => stringify(wellFormed(text));

// Well-formed text of at most so many code units: whole, or cut between two characters and with a mark that says by how much.
const shortened = (text, most) => {
  const whole = wellFormed(text);
  if (whole.length <= most) return whole;
  let end = most - 40;
  const last = stringCharCodeAt(whole, end - 1);
  if (last >= 0xd800 && last <= 0xdbff) end--;
  return arrayJoin([stringSlice(whole, 0, end), '… (', NativeString(whole.length - end), ' characters cut)'], '');
};
