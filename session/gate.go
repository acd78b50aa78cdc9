package session

import (
	"fmt"
	"strings"
)

// Facts is everything the gate depends on. Whether the gate is open is
// computed from them each time somebody asks; nobody opens or shuts it.
type Facts struct {
	Ending   error // the cause, once the session is ending
	Recorder error // why the tape can not be relied on
	Engineer Identity
	Quorum   Quorum
	There    []Identity // seated, answering, awake, in a window large enough, with a certificate that has not ended
	Away     []string   // seated and not there: who, and why not
	Rows     bool       // the engineer has had all the rows that were released
	Holds    []string   // names of the shadows who hold
}

// Gate is the answer to "may this go on now?". The zero Gate is shut.
type Gate struct {
	Open    bool
	Because Because // what keeps it shut
	Why     string  // in words, when it is shut
	Missing []Need  // of the quorum, whatever keeps it shut
}

// Because is what keeps a gate shut, for those who need not read sentences.
type Because string

const (
	NotAsked Because = ""         // the zero Gate: shut
	AllThere Because = "open"     // nothing keeps it shut
	Ending   Because = "ending"   // the session is over
	Nobody   Because = "nobody"   // no engineer
	Recorder Because = "recorder" // the tape
	Watching Because = "watching" // shadows are missing
	Rows     Because = "rows"     // the limit is reached and no shadow has released more
	Held     Because = "held"     // by a shadow
)

// Gate answers from the facts alone.
func (f Facts) Gate() Gate {
	if f.Ending != nil {
		return Gate{Because: Ending, Why: "the session is ending: " + f.Ending.Error()}
	}
	if !f.Engineer.Valid() {
		return Gate{Because: Nobody, Why: "nobody knows who the engineer is"}
	}
	missing := f.Quorum.Missing(f.Engineer, f.There)
	if f.Recorder != nil {
		return Gate{Because: Recorder, Why: "the recording is in trouble: " + f.Recorder.Error(), Missing: missing}
	}
	if len(missing) > 0 {
		why := "it takes " + Quorum(missing).String() + " to watch"
		if len(f.Away) > 0 {
			why += " (" + strings.Join(f.Away, ", ") + ")"
		}
		return Gate{Because: Watching, Why: why, Missing: missing}
	}
	if f.Rows {
		return Gate{Because: Rows, Why: "the limit of rows is reached; a shadow can release more"}
	}
	if len(f.Holds) > 0 {
		return Gate{Because: Held, Why: "held by " + strings.Join(f.Holds, " and ")}
	}
	return Gate{Open: true, Because: AllThere}
}

func (g Gate) String() string {
	if g.Open {
		return "open"
	}
	return fmt.Sprintf("shut (%s)", g.Why)
}
