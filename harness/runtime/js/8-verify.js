// Proves from inside that the hardening took. Returns the problems found, as text; a worker serves only if there are
// none. It looks for itself and does not trust what the hardening says of its own work.

const verify = () => {
  const problems = [];
  const expect = (holds, text) => {
    if (!holds) problems[problems.length] = text;
  };
  const throws = (attempt) => {
    try {
      attempt();
      return false;
    } catch {
      return true;
    }
  };

  for (const object of reachable()) {
    if (!isFrozen(object)) {
      const label = typeof object === 'function' ? functionLabel(object) : NativeString(ownKeys(object).length);
      expect(false, `not frozen: ${typeof object} ${label}`);
    }
  }
  for (const name of REMOVED) expect(!(name in globalThis), `still there: ${name}`);
  for (const sample of [() => {}, async () => {}, function* () {}, async function* () {}, Math.max, class {}]) {
    expect(throws(() => sample.constructor('return 1')), 'a function constructor makes code');
    expect(throws(() => new sample.constructor('return 1')), 'a function constructor makes code with new');
  }
  expect(throws(() => { globalThis.unexpected = 1; }), 'the global object is open');
  expect(throws(() => { ObjectPrototype.unexpected = 1; }), 'Object.prototype is open');
  expect(throws(() => { globalThis.tools = 1; }), 'tools can be replaced');
  expect(throws(() => { NativeError.prepareStackTrace = () => 1; }), 'Error.prepareStackTrace can be set');
  expect(new Date().getTime() === state.now && Date.now() === state.now, 'Date shows a clock that is not the host\'s');
  expect(!throws(() => { ({}).toString = 1; new NativeError('a').message = 'b'; }), 'ordinary assignments fail');
  seedChance([1, 2, 3, 4]);
  const first = Math.random();
  seedChance([1, 2, 3, 4]);
  expect(first === Math.random(), 'Math.random does not follow its seed');
  return problems;
};
