package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file is how the story is told: people press keys and look, and the
// first thing that is not as told ends it. After that nothing more is done, so
// that a chapter reads as a story and not as a list of error checks.

// play is the story under way.
type play struct {
	ctx     context.Context
	house   *house.House
	stage   *stage
	windows []*house.Terminal
	err     error // the first thing that went wrong

	alice, bob, carol, dave *person
	code                    string // of the session that is live
	recording               string // ID of the session to prove
}

// person is somebody at a terminal.
type person struct {
	*play
	name string
	home string
	*house.Terminal
}

// Terminals of different sizes, as people have them.
var (
	aliceSize  = house.Size{Cols: 74, Rows: 22}
	aliceLater = house.Size{Cols: 70, Rows: 24}
	bobSize    = house.Size{Cols: 90, Rows: 26}
	daveSize   = house.Size{Cols: 110, Rows: 26}
)

// sits opens a window for a person.
func (p *play) sits(name, title, sshConfig string, s house.Size) *person {
	who := &person{play: p, name: name, home: p.house.Path(name)}
	if p.err != nil {
		return who
	}
	t, err := house.OpenTerminal(name, who.home, sshConfig, s)
	if p.fails(err) {
		return who
	}
	t.Title = title
	who.Terminal = t
	p.windows = append(p.windows, t)
	who.reads(`\$ `)
	return who
}

// leave closes all windows.
func (p *play) leave() {
	for _, t := range p.windows {
		t.Close()
	}
	p.windows = nil
}

// fails keeps the first error and reports whether there is any.
func (p *play) fails(err error) bool {
	if p.err == nil {
		p.err = err
	}
	return p.err != nil
}

// types presses keys and Enter.
func (a *person) types(line string) { a.presses(line + "\r") }

// presses sends keys as they are.
func (a *person) presses(keys string) {
	if a.err == nil {
		a.fails(a.Press(keys))
	}
}

// reads waits for something new, and returns the first group or, without one, all of it.
func (a *person) reads(pattern string) string {
	if a.err != nil {
		return ""
	}
	groups, err := a.Terminal.Reads(a.ctx, regexp.MustCompile(pattern))
	if a.fails(err) {
		return ""
	}
	return groups[min(1, len(groups)-1)]
}

// sees waits until it is on the screen.
func (a *person) sees(pattern string) {
	if a.err == nil {
		a.fails(a.Terminal.Sees(a.ctx, regexp.MustCompile(pattern)))
	}
}

// prompt is the shell's on a new line: readline draws it again when the
// window's size changes. It shows the exit status of what failed.
func (a *person) prompt() string { return `\n` + a.name + `(?: \[(\d+)\])?\$ ` }

// clears empties the screen.
func (a *person) clears() {
	a.types("clear")
	a.reads(a.prompt())
}

// run types a command at the shell, waits for its end, and insists on its status.
func (a *person) run(command string, status int) {
	a.types(command)
	a.ends(status)
}

// ends waits for the shell's prompt, and insists on the exit status.
func (a *person) ends(status int) {
	want := ""
	if status != 0 {
		want = fmt.Sprint(status)
	}
	if got := a.reads(a.prompt()); a.err == nil && got != want {
		a.fails(fmt.Errorf("%s: the exit status is %q, not %d; the screen:\n%s", a.Title, got, status, strings.Join(a.Lines(), "\n")))
	}
}

// signsIn follows the link in a browser and types the code.
func (a *person) signsIn() {
	link := a.reads(`Sign in at (http://\S+)`)
	a.reads(`Code: `)
	if a.err != nil {
		return
	}
	code, err := house.SignIn(link, a.name)
	if !a.fails(err) {
		a.types(code)
	}
}

// logsIn gets a certificate, as everybody does in the morning.
func (a *person) logsIn() {
	a.types("ssh bastion login > ~/.ssh/id_ed25519-cert.pub")
	a.signsIn()
	a.ends(0)
}

// show says what happens and shows it.
func (p *play) show(text string, who ...*person) {
	if p.err != nil {
		return
	}
	p.stage.says(text)
	all := make([]*house.Terminal, len(who))
	for i, a := range who {
		all[i] = a.Terminal
	}
	p.stage.scene(all...)
}

// database insists on what the database itself says.
func (p *play) database(what, sql, want string) {
	if p.err != nil {
		return
	}
	got := ""
	p.fails(house.Within(p.ctx, house.Patience, func() (_ bool, err error) {
		got, err = p.house.DB.Exec(p.ctx, "orders", sql)
		return got == want, err
	}, func() error { return fmt.Errorf("%s: the database says %q, not %q, to: %s", what, got, want, sql) }))
	if p.err == nil {
		p.stage.checked("the database says: %s", what)
	}
}

// outside runs a command with no twokey in it, in a folder, and shows both.
func (p *play) outside(dir, command string) (out string) {
	if p.err != nil {
		return ""
	}
	c := exec.CommandContext(p.ctx, "bash", "-o", "pipefail", "-c", command)
	c.Dir = dir
	b, err := c.CombinedOutput()
	p.stage.line("$ %s", command)
	for line := range strings.Lines(string(b)) {
		p.stage.line("  %s", strings.TrimRight(line, "\n"))
	}
	if err != nil {
		p.fails(fmt.Errorf("%s: %w", command, err))
	}
	return string(b)
}

// stored lists what of a session lies in the store now.
func (p *play) stored(id string) []string {
	found, err := filepath.Glob(p.house.Path("s3", "recordings", "sessions", "*", "*", "*", id, "*"))
	p.fails(err)
	names := make([]string, len(found))
	for i, path := range found {
		names[i] = filepath.Base(path)
	}
	return names
}

// folder is where a session lies in the store.
func (p *play) folder(id string) string {
	found, _ := filepath.Glob(p.house.Path("s3", "recordings", "sessions", "*", "*", "*", id))
	if len(found) != 1 {
		p.fails(fmt.Errorf("session %s is not in the store", id))
		return p.house.Path()
	}
	return found[0]
}

// until waits for something in the world.
func (p *play) until(what string, so func() bool) {
	if p.err == nil {
		p.fails(house.Within(p.ctx, house.Patience, func() (bool, error) { return so(), nil },
			func() error { return fmt.Errorf("it does not happen that %s", what) }))
	}
	if p.err == nil {
		p.stage.checked("%s", what)
	}
}

// logged reports whether the bastion's log has a line with all the words.
func (p *play) logged(words ...string) bool {
	text, err := os.ReadFile(p.house.Path("log", "bastion.log"))
	p.fails(err)
	for line := range strings.Lines(string(text)) {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			return true
		}
	}
	return false
}
