// Package shadow is the watcher's seat: the engineer's screen as a rendering,
// the statements as the database received them, and the keys that become
// commands. It also plays recordings back.
//
// Its one idea: no viewer's terminal ever gets bytes that somebody else chose.
// What psql prints passes Filter, an allow-list; a shadow sees cells of a screen model, which is
// fed by the filter; statements come from the gateway and are cleaned. So nothing
// printed can drive, fool or blind the one who watches.
//
// It decides nothing about the gate: a seat's facts go to the session, which does.
package shadow
