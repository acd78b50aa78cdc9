// Package psql runs psql, in a cage, on a terminal or on pipes.
//
// Its one idea: psql is code that the engineer controls. It gets no program, no
// file and no network but the socket of its gateway, and no memory without
// bound. The cage is put on by a launcher (package launch), which is this same
// binary run again, and which then becomes psql: Landlock, a seccomp allow-list,
// resource limits, no new privileges; where the machine gives them also
// namespaces with nothing in them but what psql needs, and a control group; and
// when twokey runs as root a user id that no other psql has. There is no best
// effort: what this machine has is found out once, a launcher that cannot put all
// of it on exits, and a canary at start (Cage.Probe) looks at what is in force and
// tries to break out.
//
// It knows nothing of Postgres' protocol; the gateway does.
package psql

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/psql/launch"
)

// This file finds psql and starts it.

// CageOptions say which psql, whether it may run without a cage, and what is put
// around it besides.
type CageOptions struct {
	Psql   string // path; empty: found
	Off    bool   // no cage but psql's own user: for hosts without Landlock, said so in the configuration
	Groups bool   // a control group for each psql where there can be; this process then moves into one, too
}

// Cage starts psqls.
type Cage struct {
	psql   string
	places []launch.Place // all that psql may open
	off    bool
	abi    int // Landlock's

	users  *users   // for its psqls; nil when they run as we do
	apart  bool     // each in namespaces and an empty root of its own
	groups *groups  // where each has one; nil: without
	lacks  []string // what this machine does not give, in words

	ready chan *launcher // one that waits, if one does
}

// NewCage finds psql and what this kernel has to cage it with.
func NewCage(o CageOptions) (*Cage, error) {
	path, err := find(o.Psql)
	if err != nil {
		return nil, err
	}
	c := &Cage{psql: path, off: o.Off, ready: make(chan *launcher)}
	if c.places, err = needed(path); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		if c.users, err = newUsers("/proc/self/uid_map", "/proc/self/gid_map"); err != nil {
			return nil, err
		}
	}
	if c.abi, err = launch.LandlockABI(); err != nil && !o.Off {
		return nil, err
	}
	if c.abi < launch.MinABI && !o.Off {
		return nil, fmt.Errorf("this kernel's Landlock is version %d, the cage needs %d (Linux 6.12); use a newer kernel, or say `cage: off`", c.abi, launch.MinABI)
	}
	if o.Off {
		return c, nil
	}
	c.lookAround(o)
	return c, nil
}

// lookAround finds out what this machine gives beyond what a cage must have.
func (c *Cage) lookAround(o CageOptions) {
	if err := namespaces(); err != nil {
		c.lacks = append(c.lacks, fmt.Sprintf("no namespaces (%v)", err))
		if c.abi < launch.SocketABI {
			c.lacks = append(c.lacks, "unix sockets that psql's user may open are not hidden from it")
		}
	} else {
		c.apart = true
	}
	if !o.Groups {
		return
	}
	own, err := ownGroup()
	if err == nil {
		c.groups, err = openGroups(own, controllers, together, each)
	}
	if err != nil {
		c.lacks = append(c.lacks, fmt.Sprintf("no cgroup (%v)", err))
	}
}

// find returns the real psql: Debian's /usr/bin/psql is a Perl wrapper.
func find(path string) (string, error) {
	if path != "" {
		if _, err := interpreter(path); err != nil {
			return "", err
		}
		return path, nil
	}
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql")
	slices.SortFunc(candidates, func(a, b string) int { return len(b) - len(a) + strings.Compare(b, a) })
	if onPath, err := exec.LookPath("psql"); err == nil {
		candidates = append(candidates, onPath)
	}
	for _, c := range candidates {
		if real, err := filepath.EvalSymlinks(c); err == nil {
			if _, err := interpreter(real); err == nil {
				return real, nil
			}
		}
	}
	return "", errors.New("no psql on this machine; install postgresql-client, or name it in the configuration: cage: {psql: PATH}")
}

// Path is the psql that it starts.
func (c *Cage) Path() string { return c.psql }

// String says what is in force, for the manifest.
func (c *Cage) String() string {
	s := "off"
	if !c.off {
		s = fmt.Sprintf("landlock abi %d, seccomp, rlimits, no new privileges", c.abi)
	}
	if c.apart {
		s += ", namespaces, empty root"
	}
	if c.users != nil {
		s += ", own uid"
	}
	if c.groups != nil {
		s += ", cgroup"
	}
	if !c.off && len(c.lacks) > 0 {
		s += "; " + strings.Join(c.lacks, "; ")
	}
	return s
}

// Lacks says, in words, what of the cage this machine does not give; empty when
// nothing is missing.
func (c *Cage) Lacks() string { return strings.Join(c.lacks, "; ") }

// Options say what one psql is for.
type Options struct {
	Socket   string // the gateway's folder; psql's user must reach it
	Port     int    // the number in the socket's name; 5432 when zero
	Database string
	User     string
	Args     []string     // checked by CheckArgs
	Size     session.Size // zero: pipes
	Term     string
	Env      []string // LANG and LC_*
	UID      int      // from Reserve
	Past     *Past    // what the same person typed before; nil: nothing is remembered
}

// Reserve returns the user id that the next psql will run as, and gives it
// back when release is called, after that psql's end. Without root it is our own.
func (c *Cage) Reserve() (uid int, release func(), err error) {
	if c.users == nil {
		return os.Getuid(), func() {}, nil
	}
	return c.users.reserve()
}

// Start runs psql with -X, a fixed environment and no password in it.
func (c *Cage) Start(o Options) (*Shell, error) {
	if c.users != nil && !c.users.have(o.UID) {
		return nil, fmt.Errorf("psql may not run as user %d", o.UID)
	}
	var m *memory // of lines, which psql only has on a terminal
	if o.Past != nil && o.Size != (session.Size{}) {
		var err error
		if m, err = remember(o.Past, o.Socket, o.UID); err != nil {
			return nil, err
		}
	}
	s, err := c.start(c.order(o, m), o.Size, m)
	if err != nil && m != nil {
		m.close()
	}
	return s, err
}

func (c *Cage) order(o Options, m *memory) launch.Order {
	history := os.DevNull
	if m != nil {
		history = m.file
	}
	env := []string{
		"PGHOST=" + o.Socket, fmt.Sprintf("PGPORT=%d", cmp.Or(o.Port, 5432)), "PGDATABASE=" + o.Database, "PGUSER=" + o.User,
		"PGSSLMODE=disable", "PGGSSENCMODE=disable", "PGPASSFILE=/nonexistent", "PGAPPNAME=psql",
		"HOME=/nonexistent", "PATH=/usr/bin:/bin", "PSQL_HISTORY=" + history, "PSQLRC=/nonexistent",
		"OPENSSL_CONF=/nonexistent", "INPUTRC=/nonexistent", "PAGER=", "TERM=" + cmp.Or(o.Term, "dumb"),
	}
	locale := []string{"LANG=C.UTF-8"} // when the client says nothing: nearly every terminal is UTF-8
	for _, e := range o.Env {
		if strings.HasPrefix(e, "LANG=") || strings.HasPrefix(e, "LC_") {
			locale = append(locale, e)
		}
	}
	if len(locale) > 1 {
		locale = locale[1:]
	}
	env = append(env, locale...)
	places := []launch.Place{{At: o.Socket, Access: gateway}}
	if c.abi < launch.SocketABI {
		places[0].Access = 0
	}
	if m != nil {
		places = append(places, m.places()...)
	}
	ord := launch.Order{Env: env, Places: places, Terminal: o.Size != session.Size{}}
	for _, arg := range o.Args {
		ord.Args = append(ord.Args, []byte(arg))
	}
	if c.users != nil {
		ord.UID = o.UID
	}
	return ord
}
