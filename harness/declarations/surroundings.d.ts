/** A whole number. */
type integer = number;

// ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The second argument of a call. */
interface CallOptions {
  /** Cancels the call when it is aborted. */
  readonly signal?: AbortSignal;
}

/** What a call fails with: `catch (error) { if (error.name === "ToolTimeoutError" && error.retryable) … }`. */
interface CallError extends Error {
  /** Its class; tools may have classes of their own. */
  readonly name: CallErrorName | (string & {});
  readonly category: "TRANSIENT" | "PERMANENT" | "RESOURCE" | "PERMISSION" | "VALIDATION";
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  readonly details: { readonly [name: string]: any };
}

interface ToolSummary {
  readonly name: string;
  /** How it is called: `tools.fs.read({path, limit?})`. */
  readonly call: string;
  /** The first sentence of its description. */
  readonly description: string;
}

interface ToolDescription extends ToolSummary {
  /** The whole description. */
  readonly description: string;
  /** Its declaration in TypeScript. */
  readonly declaration: string;
  /** What a call costs; null if that depends on its arguments. */
  readonly cost_cents: number | null;
  /** How it is tried again where that may help. */
  readonly retry: { readonly attempts: integer; readonly [setting: string]: number } | null;
  /** What it shares with other tools. */
  readonly resource: {
    readonly resource_id: string;
    readonly budget_cents: number | null;
    readonly rate_limit_per_min: integer | null;
    readonly max_concurrent: integer;
    readonly schema_version: string;
  } | null;
  /** Whether the host can take a call back. */
  readonly revert: boolean;
}

// ── the execution ───────────────────────────────────────────────────────────────────────────────────────────────────

interface CallBudget {
  readonly limit: integer;
  readonly used: integer;
  readonly remaining: integer;
}

interface ScriptContext {
  readonly execution_id: string;
  readonly conversation_id: string | null;
  readonly session_id: string | null;
  readonly user_id: string | null;
  /** Data for the script. */
  readonly inputs: { readonly [name: string]: any };
  /** What the host says about this execution; values under sensitive names are masked. */
  readonly metadata: { readonly [name: string]: any };
  /** In seconds, bytes and counts. */
  readonly limits: {
    readonly wall_time: number;
    readonly cpu_time: number;
    readonly memory_bytes: integer;
    readonly result_bytes: integer;
    readonly argument_bytes: integer;
    readonly max_tool_calls: integer;
    readonly max_concurrent_tool_calls: integer;
    readonly max_approvals: integer;
    readonly tool_timeout: number;
  };
  /** What is left. */
  budget(): { readonly tool_calls: CallBudget; readonly [name: string]: any };
}

/** What this execution was given. Frozen. */
declare const context: ScriptContext;

/** Reports progress to the host. What comes too often is dropped and counted. */
declare function progress(message: string, data?: any): void;

// ── console ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Captured, with level and line; format strings (`%s`, `%d`, `%o`) work. */
interface Console {
  log(...data: any[]): void;
  info(...data: any[]): void;
  warn(...data: any[]): void;
  error(...data: any[]): void;
  debug(...data: any[]): void;
  trace(...data: any[]): void;
  dir(item?: any, options?: any): void;
  table(data?: any, columns?: string[]): void;
  assert(condition?: any, ...data: any[]): void;
  count(label?: string): void;
  countReset(label?: string): void;
  time(label?: string): void;
  timeLog(label?: string, ...data: any[]): void;
  timeEnd(label?: string): void;
  group(...data: any[]): void;
  groupCollapsed(...data: any[]): void;
  groupEnd(): void;
}
declare const console: Console;

// ── timers and cancellation ─────────────────────────────────────────────────────────────────────────────────────────

/** Milliseconds on the execution's clock. A timer still set when the script ends never fires. */
declare function setTimeout(callback: (...args: any[]) => void, ms?: number, ...args: any[]): number;
declare function clearTimeout(id: number | undefined): void;
declare function queueMicrotask(callback: () => void): void;

interface AbortEvent {
  readonly type: "abort";
  readonly target: AbortSignal;
}
type AbortListener = ((event: AbortEvent) => void) | { handleEvent(event: AbortEvent): void };

declare class AbortSignal {
  private constructor();
  static abort(reason?: any): AbortSignal;
  static timeout(ms: number): AbortSignal;
  static any(signals: Iterable<AbortSignal>): AbortSignal;
  readonly aborted: boolean;
  readonly reason: any;
  onabort: ((event: AbortEvent) => void) | null;
  throwIfAborted(): void;
  addEventListener(
    type: "abort",
    listener: AbortListener | null,
    options?: boolean | { readonly once?: boolean; readonly signal?: AbortSignal },
  ): void;
  removeEventListener(type: "abort", listener: AbortListener | null): void;
}
declare class AbortController {
  readonly signal: AbortSignal;
  abort(reason?: any): void;
}

/** Thrown by `structuredClone`, `atob`, `btoa` and aborted signals. */
declare class DOMException extends Error {
  constructor(message?: string, name?: string);
  readonly code: number;
}

// ── text and data ───────────────────────────────────────────────────────────────────────────────────────────────────

declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(input?: string): Uint8Array;
  encodeInto(input: string, bytes: Uint8Array): { read: number; written: number };
}
/** UTF-8 only, and the whole input at once. */
declare class TextDecoder {
  constructor(label?: "utf-8" | "utf8", options?: { readonly fatal?: boolean; readonly ignoreBOM?: boolean });
  readonly encoding: "utf-8";
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(input?: ArrayBufferLike | ArrayBufferView): string;
}
/** Base64 to a string with one character for each byte. */
declare function atob(text: string): string;
/** A string with one character for each byte to base64. */
declare function btoa(bytes: string): string;
/** A deep copy that can be changed, as results of tools and `context` cannot. */
declare function structuredClone<T>(value: T): T;
