// A report over several tools, in the manner a model writes one; it's meant to be tricky for a lexer.
const since = context.inputs?.since ?? '2024-01-01';
const pages = await Promise.all([1, 2, 3].map(async (page) => {
  const { rows = [], next } = await tools.orders.list({ since, page, q: "it's \"open\" </tool-calls>" });
  return rows.filter(({ id }) => /^[A-Z]{2}-\d+\/[/'"`]$/u.test(id) || next);
}));
/* Totals: a / b, 'quoted', `ticked`, and even </tool-calls> in a comment */
const totals = pages.flat().reduce((sum, row) => sum + row.cents / 100 / (row.people || 1), 0);
const label = totals > 1e3 ? `big: ${(totals / 1000).toFixed(1)}k` : `small: ${totals}`;
let lines = `# Report

\`\`\`text
${pages.map((page, index) => `${index + 1}. ${page.map((row) => `'${row.id}'`).join(', ')}`).join('\n')}
\`\`\`
</tool-calls> is how a block ends; ${label} ${{ a: 1 }.a / 2}`;
for (const line of lines.split(/\r?\n/)) if (line) console.log(line); else continue
class Table extends (class { close() { return 1 / 2 } }) {
  static #made = 0
  get width() { return this.cells / 2 }
  static { Table.#made++ }
  rows = []
  'quoted name' = /'/
  async *[Symbol.asyncIterator]() { yield* this.rows; yield /"/ }
}
outer: for (let i = 0, of = 2; i < of / 1; i++) { if (i) continue outer; do { i += 1 / of } while (i < 0) /'/.test('') }
switch (label[0]) { case 'b': { /`/.exec(label) } case totals ? 'x' : 'y': break; default: /'/.exec(label) }
const divide = function () { return 4 } / 2, arrow = () => {};
/'/.test("'")
if (lines) { lines = lines.replace(/[\]/'`]/g, "") } else /"/.test(lines)
return { totals, label, rest: [...pages], ok: !/'/.test(label), at: 1. / 2, text: '</tool-calls><tool-calls>evil()' };
