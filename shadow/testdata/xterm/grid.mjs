// Shows what xterm.js makes of output. On standard input a case a line:
//
//	{"cols": 80, "rows": 24, "parts": [{"data": "…"}, {"cols": 60, "rows": 20}]}
//
// and for each, a line on standard output: {"rows": ["…"], "looks": [["…"]], "x": 0, "y": 0}.
// The looks are those of the cells, as numbers that the test understands.
import { createInterface } from "node:readline";
import xterm from "@xterm/headless";
import unicode11 from "@xterm/addon-unicode11";

function terminal(cols, rows) {
  const t = new xterm.Terminal({
    cols, rows, allowProposedApi: true, scrollback: 0,
    windowsPty: { backend: "winpty", buildNumber: 1 }, // lines stay as they are at another size
  });
  t.loadAddon(new unicode11.Unicode11Addon());
  t.unicode.activeVersion = "11";
  return t;
}

const write = (t, data) => new Promise((done) => t.write(data, done));

// colour: 0 is the terminal's own, else 1<<24 | one of 256, or 2<<24 | red, green, blue.
function colour(isDefault, isRGB, value) {
  if (isDefault) return 0;
  return isRGB ? (2 << 24) | value : (1 << 24) | value;
}

function look(c) {
  const attributes = [c.isBold(), c.isDim(), c.isItalic(), c.isBlink(), c.isInverse(), c.isStrikethrough(), c.isUnderline()];
  const bits = attributes.reduce((n, on, i) => (on ? n | (1 << i) : n), 0);
  return [colour(c.isFgDefault(), c.isFgRGB(), c.getFgColor()), colour(c.isBgDefault(), c.isBgRGB(), c.getBgColor()), bits];
}

function grid(t, looks) {
  const b = t.buffer.active;
  const x = Math.min(b.cursorX, t.cols - 1); // it may wait behind the last column
  const out = { rows: [], looks: [], x, y: b.cursorY };
  for (let y = 0; y < t.rows; y++) {
    const line = b.getLine(b.baseY + y);
    out.rows.push(line.translateToString(true, 0, t.cols).trimEnd());
    if (!looks) continue;
    const row = [];
    for (let x = 0; x < t.cols; x++) row.push(look(line.getCell(x)));
    out.looks.push(row);
  }
  return out;
}

for await (const line of createInterface({ input: process.stdin })) {
  const c = JSON.parse(line);
  const t = terminal(c.cols, c.rows);
  let data = ""; // a write waits for a timer: there should be few
  for (const p of c.parts) {
    data += p.data ?? "";
    if (!p.cols) continue;
    await write(t, data);
    data = "";
    t.resize(p.cols, p.rows);
  }
  await write(t, data);
  console.log(JSON.stringify(grid(t, c.looks)));
  t.dispose();
}
