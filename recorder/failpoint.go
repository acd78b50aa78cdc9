package recorder

// failpoint is called at every step after which a crash leaves another picture
// on the disk or in the store: what was done, and to which file or object. It
// does nothing; the child of crash_test.go, a process of its own, dies in it.
var failpoint = func(step, name string) {}
