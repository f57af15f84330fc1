// What a script finds besides the language: timers, Date, Math.random, AbortController, TextEncoder and their like.

// A function written as a method has no `prototype` and cannot be constructed: nothing is left to freeze on it.
const global = (name, value) => hidden(globalThis, name, value);

// ── timers and microtasks ────────────────────────────────────────────────────────────────────────────────────────

const LONGEST_TIMER = 2_147_483_647;
const TIMER_TEXT = 64; // more than the text of a timer takes in a frame
const MOST_TIMERS = 10_000; // that one frame sets, or clears: the host has work with each

// An exception that no promise can carry ends the script, as it would end a process.
const runCallback = (callback, list) => {
  try {
    apply(callback, undefined, list);
  } catch (error) {
    endWithError(error);
  }
};

const timers = {
  setTimeout(callback, delay, ...list) {
    if (typeof callback !== 'function') {
      throw new NativeTypeError('setTimeout needs a function; code in a string is never run');
    }
    if (mapSize(pendingCalls) + mapSize(pendingTimers) >= state.limits.max_pending_calls) {
      throw refuse('ConcurrencyLimitError', 'RESOURCE', 'setTimeout: too many calls and timers are unsettled (max_pending_calls)');
    }
    if (outbox.timers.length >= MOST_TIMERS || !fitsInFrame(TIMER_TEXT)) {
      throw refuse('ConcurrencyLimitError', 'RESOURCE', 'setTimeout: too many timers were set at once; await something first');
    }
    const wanted = NativeNumber(delay);
    const ms = wanted > 0 ? (wanted < LONGEST_TIMER ? trunc(wanted) : LONGEST_TIMER) : 0;
    const id = ++state.lastTimer;
    if (state.ended) return id;
    mapSet(pendingTimers, id, { __proto__: null, callback, list });
    post(outbox.timers, arrayJoin(['{"id":', NativeString(id), ',"ms":', NativeString(ms), '}'], ''));
    return id;
  },
  clearTimeout(id) {
    // The host may as well fire a timer that is no more: nothing is called then.
    if (typeof id !== 'number' || !mapDelete(pendingTimers, id)) return;
    if (outbox.cleared.length < MOST_TIMERS && fitsInFrame(TIMER_TEXT)) post(outbox.cleared, NativeString(id));
  },
  queueMicrotask(callback) {
    if (typeof callback !== 'function') throw new NativeTypeError('queueMicrotask needs a function');
    promiseThen(settledPromise, () => runCallback(callback, []));
  },
};
global('setTimeout', timers.setTimeout);
global('clearTimeout', timers.clearTimeout);
global('queueMicrotask', timers.queueMicrotask);

const fireTimer = (id) => {
  const timer = mapGet(pendingTimers, id);
  if (timer === undefined) return;
  mapDelete(pendingTimers, id);
  runCallback(timer.callback, timer.list);
};

// ── time and chance ──────────────────────────────────────────────────────────────────────────────────────────────

const dateStatics = {
  now() {
    return state.now;
  },
};
const HostDate = function Date(...list) {
  if (new.target === undefined) return dateToString(new NativeDate(state.now));
  return construct(NativeDate, list.length === 0 ? [state.now] : list, new.target);
};
defineProperty(HostDate, 'length', { __proto__: null, value: 7 });
defineProperty(HostDate, 'prototype', { __proto__: null, value: NativeDate.prototype, writable: false });
hidden(HostDate, 'now', dateStatics.now);
hidden(HostDate, 'parse', NativeDate.parse);
hidden(HostDate, 'UTC', NativeDate.UTC);
hidden(NativeDate.prototype, 'constructor', HostDate);
global('Date', HostDate);

// sfc32, by Chris Doty-Humphrey (PractRand): 128 bits of state, seeded by the host for each execution.
const chance = { __proto__: null, a: 0, b: 0, c: 0, d: 0 };
const next32 = () => {
  const sum = (((chance.a + chance.b) | 0) + chance.d) | 0;
  chance.d = (chance.d + 1) | 0;
  chance.a = chance.b ^ (chance.b >>> 9);
  chance.b = (chance.c + (chance.c << 3)) | 0;
  chance.c = (chance.c << 21) | (chance.c >>> 11);
  chance.c = (chance.c + sum) | 0;
  return sum >>> 0;
};
const seedChance = (seed) => {
  chance.a = seed[0] | 0;
  chance.b = seed[1] | 0;
  chance.c = seed[2] | 0;
  chance.d = seed[3] | 0;
  for (let i = 0; i < 12; i++) next32();
};
hidden(
  Math,
  'random',
  {
    random() {
      const high = next32() >>> 5;
      const low = next32() >>> 6;
      return (high * 67_108_864 + low) / 9_007_199_254_740_992;
    },
  }.random,
);

// ── locales: the engine has none and would ignore them silently ──────────────────────────────────────────────────

const guardLocale = (prototype, name, first) => {
  const original = prototype[name];
  const guarded = {
    method(...list) {
      for (let i = first; i < list.length; i++) {
        if (list[i] !== undefined) {
          throw new NativeTypeError(
            `${name} with a locale or options is not available here, since there is no Intl; format the value in the script or with a tool`,
          );
        }
      }
      return apply(original, this, list);
    },
  }.method;
  defineProperty(guarded, 'name', { __proto__: null, value: name });
  defineProperty(guarded, 'length', { __proto__: null, value: original.length });
  hidden(prototype, name, guarded);
};
for (const name of ['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString']) guardLocale(NativeDate.prototype, name, 0);
for (const prototype of [Number.prototype, BigInt.prototype, Array.prototype, getPrototypeOf(Int8Array.prototype)]) {
  guardLocale(prototype, 'toLocaleString', 0);
}
for (const name of ['toLocaleUpperCase', 'toLocaleLowerCase']) guardLocale(String.prototype, name, 0);
guardLocale(String.prototype, 'localeCompare', 1);

// ── AbortController ──────────────────────────────────────────────────────────────────────────────────────────────

let makeSignal;
let abortSignalNow;
let isAbortSignal;
let signalAborted;
let signalReason;
let onAbort;
const forSignals = { __proto__: null };

const domException = (message, name) => {
  const error = withCleanStack(new NativeDOMException(message, name));
  hidden(error, 'retryable', name === 'TimeoutError');
  hidden(error, 'category', name === 'TimeoutError' ? 'TRANSIENT' : 'PERMANENT');
  return error;
};
const abortError = () => domException('This operation was aborted', 'AbortError');
const callListener = (listener, event) => {
  if (typeof listener === 'function') runCallback(listener, [event]);
  else if (typeof listener === 'object' && listener !== null) {
    runCallback(() => listener.handleEvent(event), []);
  }
};

const MOST_TIMEOUT = 9_007_199_254_740_991;

class AbortSignal {
  #aborted = false;
  #reason = undefined;
  #listeners = [];
  onabort = null;

  constructor(permission) {
    if (permission !== forSignals) throw new NativeTypeError('AbortSignal: make one with new AbortController()');
  }
  static abort(reason = abortError()) {
    const signal = makeSignal();
    abortSignalNow(signal, reason);
    return signal;
  }
  static timeout(ms) {
    const wanted = NativeNumber(ms);
    if (!(wanted >= 0 && wanted <= MOST_TIMEOUT)) throw new NativeTypeError('AbortSignal.timeout needs milliseconds from 0');
    const signal = makeSignal();
    timers.setTimeout(
      () => abortSignalNow(signal, domException('The operation timed out', 'TimeoutError')),
      wanted,
    );
    return signal;
  }
  static any(signals) {
    const sources = [...signals];
    const combined = makeSignal();
    for (let i = 0; i < sources.length; i++) {
      if (!isAbortSignal(sources[i])) throw new NativeTypeError('AbortSignal.any needs a list of signals');
    }
    for (let i = 0; i < sources.length; i++) {
      if (signalAborted(sources[i])) {
        abortSignalNow(combined, signalReason(sources[i]));
        return combined;
      }
    }
    for (let i = 0; i < sources.length; i++) {
      onAbort(sources[i], () => abortSignalNow(combined, signalReason(sources[i])));
    }
    return combined;
  }
  get aborted() {
    return this.#aborted;
  }
  get reason() {
    return this.#reason;
  }
  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }
  addEventListener(type, listener, options) {
    if (type !== 'abort' || listener === null || listener === undefined) return;
    for (let i = 0; i < this.#listeners.length; i++) if (this.#listeners[i] === listener) return;
    this.#listeners[this.#listeners.length] = listener;
    // Events of a signal come once, so `once` needs no care; a signal in the options ends the listening.
    const ending = typeof options === 'object' && options !== null ? options.signal : undefined;
    if (isAbortSignal(ending)) onAbort(ending, () => this.#remove(listener));
  }
  removeEventListener(type, listener) {
    if (type === 'abort') this.#remove(listener);
  }
  #remove(listener) {
    const kept = [];
    for (let i = 0; i < this.#listeners.length; i++) {
      if (this.#listeners[i] !== listener) kept[kept.length] = this.#listeners[i];
    }
    this.#listeners = kept;
  }
  get [Symbol.toStringTag]() {
    return 'AbortSignal';
  }
  static {
    makeSignal = () => new AbortSignal(forSignals);
    isAbortSignal = (value) => typeof value === 'object' && value !== null && #aborted in value;
    signalAborted = (signal) => signal.#aborted;
    signalReason = (signal) => signal.#reason;
    onAbort = (signal, callback) => {
      signal.#listeners[signal.#listeners.length] = callback;
    };
    abortSignalNow = (signal, reason) => {
      if (signal.#aborted) return;
      signal.#aborted = true;
      signal.#reason = reason === undefined ? abortError() : reason;
      const listeners = signal.#listeners;
      signal.#listeners = [];
      const event = freeze({ type: 'abort', target: signal });
      if (typeof signal.onabort === 'function') runCallback(signal.onabort, [event]);
      for (let i = 0; i < listeners.length; i++) callListener(listeners[i], event);
    };
  }
}
class AbortController {
  #signal = makeSignal();
  get [Symbol.toStringTag]() {
    return 'AbortController';
  }
  get signal() {
    return this.#signal;
  }
  abort(reason) {
    abortSignalNow(this.#signal, reason);
  }
}
global('AbortController', AbortController);
global('AbortSignal', AbortSignal);

// ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const NativeUint8Array = Uint8Array;
const typedArrayPrototype = getPrototypeOf(NativeUint8Array.prototype);
const typedArrayName = getterOf(typedArrayPrototype, Symbol.toStringTag); // of a DataView, undefined
const typedArrayBuffer = getterOf(typedArrayPrototype, 'buffer');
const typedArrayOffset = getterOf(typedArrayPrototype, 'byteOffset');
const typedArrayBytes = getterOf(typedArrayPrototype, 'byteLength');
const typedArraySet = uncurry(typedArrayPrototype.set);
const dataViewBuffer = getterOf(DataView.prototype, 'buffer');
const dataViewOffset = getterOf(DataView.prototype, 'byteOffset');
const dataViewBytes = getterOf(DataView.prototype, 'byteLength');
// The bytes that a view shows, whatever properties of its own it has.
const bytesOf = (view) =>
  typedArrayName(view) === undefined
    ? new NativeUint8Array(dataViewBuffer(view), dataViewOffset(view), dataViewBytes(view))
    : new NativeUint8Array(typedArrayBuffer(view), typedArrayOffset(view), typedArrayBytes(view));
const stringCodePointAt = uncurry(String.prototype.codePointAt);
const { fromCodePoint } = String;

// UTF-8 of a string, written into `bytes` from its start -> [UTF-16 units read, bytes written].
const encodeUtf8 = (text, bytes) => {
  let read = 0;
  let written = 0;
  while (read < text.length) {
    let code = stringCodePointAt(text, read);
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    const length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (written + length > bytes.length) break;
    if (length === 1) bytes[written++] = code;
    else {
      bytes[written++] = [0, 0, 0xc0, 0xe0, 0xf0][length] | (code >> (6 * (length - 1)));
      for (let shift = length - 2; shift >= 0; shift--) bytes[written++] = 0x80 | ((code >> (6 * shift)) & 0x3f);
    }
    read += length === 4 ? 2 : 1;
  }
  return [read, written];
};
const BEYOND_ASCII = /[^\x00-\x7f]/;
const utf8Length = (text) => {
  if (regExpExec(BEYOND_ASCII, text) === null) return text.length;
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = stringCharCodeAt(text, i);
    if (unit < 0x80) length += 1;
    else if (unit < 0x800) length += 2;
    else if (unit >= 0xd800 && unit <= 0xdbff && stringCodePointAt(text, i) > 0xffff) {
      length += 4;
      i++;
    } else length += 3;
  }
  return length;
};

class TextEncoder {
  get encoding() {
    return 'utf-8';
  }
  encode(input = '') {
    const text = NativeString(input);
    const bytes = new NativeUint8Array(utf8Length(text));
    encodeUtf8(text, bytes);
    return bytes;
  }
  encodeInto(input, bytes) {
    if (typedArrayName(bytes) !== 'Uint8Array') throw new NativeTypeError('TextEncoder: encodeInto needs a Uint8Array');
    const [read, written] = encodeUtf8(NativeString(input), bytesOf(bytes));
    return { read, written };
  }
}

// One UTF-8 sequence at `bytes[at]` -> [code point or -1, bytes consumed], by the maximal-subpart rule of the
// Encoding standard.
const decodeOne = (bytes, at) => {
  const lead = bytes[at];
  if (lead < 0x80) return [lead, 1];
  const length = lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
  if (length === 0) return [-1, 1];
  let low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  let high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  let code = lead & (length === 2 ? 0x1f : length === 3 ? 0x0f : 0x07);
  for (let i = 1; i < length; i++) {
    const byte = at + i < bytes.length ? bytes[at + i] : -1;
    if (byte < low || byte > high) return [-1, i];
    code = (code << 6) | (byte & 0x3f);
    low = 0x80;
    high = 0xbf;
  }
  return [code, length];
};

class TextDecoder {
  #fatal;
  #keepBom;
  constructor(label = 'utf-8', options = undefined) {
    const name = stringToLowerCase(stringTrim(NativeString(label)));
    if (name !== 'utf-8' && name !== 'utf8') {
      throw new NativeRangeError(`TextDecoder: only utf-8 is available here, not ${name}`);
    }
    this.#fatal = !!options?.fatal;
    this.#keepBom = !!options?.ignoreBOM;
  }
  get encoding() {
    return 'utf-8';
  }
  get fatal() {
    return this.#fatal;
  }
  get ignoreBOM() {
    return this.#keepBom;
  }
  decode(input = new NativeUint8Array(0), options = undefined) {
    if (options?.stream) throw new NativeTypeError('TextDecoder: stream is not available; decode the whole input');
    if (!isView(input) && !brandedBy(arrayBufferLength, input)) {
      throw new NativeTypeError('TextDecoder: decode needs an ArrayBuffer or a view of one');
    }
    const bytes = isView(input) ? bytesOf(input) : new NativeUint8Array(input);
    const parts = [];
    let at = 0;
    if (!this.#keepBom && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) at = 3;
    while (at < bytes.length) {
      const [code, length] = decodeOne(bytes, at);
      if (code < 0 && this.#fatal) throw new NativeTypeError(`TextDecoder: invalid UTF-8 at byte ${at}`);
      parts[parts.length] = code < 0 ? '\ufffd' : fromCodePoint(code);
      at += length;
    }
    return arrayJoin(parts, '');
  }
}
global('TextEncoder', TextEncoder);
global('TextDecoder', TextDecoder);
