package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// This file holds the people of the dramas: each has a key, a home folder, a
// browser, and a terminal with a real OpenSSH client in it.

// patience bounds every wait of a drama. It is long because a slow machine is
// no mistake; a drama that works never waits for it.
const patience = time.Minute

// actor is one person at one terminal.
type actor struct {
	name    string
	account string // at the identity provider
	home    string // holds id_ed25519, id_ed25519-cert.pub, ssh_config

	mu     sync.Mutex
	screen *vt.Emulator
	raw    bytes.Buffer // everything the terminal got
	read   int          // how much of raw, without escapes, has been seen
	master *os.File
	cmd    *exec.Cmd
	gone   chan struct{} // closed when ssh has ended
	status int

	agent   *exec.Cmd  // nil: none runs
	env     []string   // what is in their shell's environment besides
	network *network   // nil: straight to the bastion
	typing  chan error // while keys are pressed all the time; closed by whoever does
	enough  chan struct{}
}

// newActor makes a person with a key of their own and an ssh_config that
// trusts the bastion's host CA, and nothing else.
func newActor(name, account, home string) (*actor, error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	key := filepath.Join(home, "id_ed25519")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ssh-keygen: %v: %s", err, out)
	}
	return &actor{name: name, account: account, home: home}, nil
}

const sshConfig = `Host bastion
  HostName 127.0.0.1
  Port %s
  UserKnownHostsFile %s/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  IdentityFile %s/id_ed25519
  IdentitiesOnly yes
  IdentityAgent none
  LogLevel ERROR
  ServerAliveInterval 5
  ServerAliveCountMax 20
`

// meet tells the actor where the bastion is and how to know it.
func (a *actor) meet(port, knownHosts string) error {
	if err := os.WriteFile(filepath.Join(a.home, "known_hosts"), []byte(knownHosts), 0o600); err != nil {
		return err
	}
	config := fmt.Sprintf(sshConfig, port, a.home, a.home)
	return os.WriteFile(filepath.Join(a.home, "ssh_config"), []byte(config), 0o600)
}

// ssh is a client that is not started yet. words are as one types them after
// `ssh`; HOST stands for the bastion.
func (a *actor) ssh(terminal bool, words ...string) *exec.Cmd {
	args := []string{"-F", filepath.Join(a.home, "ssh_config"), "-T"}
	if terminal {
		args[2] = "-tt"
	}
	for _, w := range words {
		if w == "HOST" || strings.HasSuffix(w, "@HOST") {
			w = strings.TrimSuffix(w, "HOST") + "bastion"
		}
		args = append(args, w)
	}
	return a.at(exec.Command("ssh", args...))
}

// at runs a command in the person's own shell.
func (a *actor) at(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append([]string{"HOME=" + a.home, "PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "LANG=C.UTF-8"}, a.env...)
	return cmd
}

// do starts a program in a terminal. What it calls ssh reads her configuration:
// OpenSSH itself looks for that in the home of the system's user.
func (a *actor) do(words []string) error {
	bin := filepath.Join(a.home, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return err
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte("#!/bin/sh\nexec "+ssh+" -F "+a.home+"/ssh_config \"$@\"\n"), 0o700); err != nil {
		return err
	}
	cmd := a.at(exec.Command("env", append([]string{"PATH=" + bin + ":" + os.Getenv("PATH"), "ACCOUNT=" + a.account}, words...)...))
	cmd.Dir = a.home
	return a.start(80, 24, cmd)
}

// startAgent gives her an ssh-agent.
func (a *actor) startAgent() (socket string, err error) {
	socket = filepath.Join(os.TempDir(), fmt.Sprintf("twokey-agent-%d-%s", os.Getpid(), rand.Text()[:8]))
	a.agent = exec.Command("ssh-agent", "-D", "-a", socket)
	if err := a.agent.Start(); err != nil {
		return "", err
	}
	a.env = append(a.env, "SSH_AUTH_SOCK="+socket)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return socket, nil
		}
	}
	a.stopAgent()
	return "", fmt.Errorf("no ssh-agent at %s", socket)
}

func (a *actor) stopAgent() {
	if a.agent != nil {
		a.agent.Process.Signal(syscall.SIGTERM) // it takes its socket away
		a.agent.Wait()
		a.agent = nil
	}
}

// browse is the browser of a person who works at this machine: it signs in as
// $ACCOUNT and follows the page's link back into the terminal.
func browse() {
	a := &actor{name: os.Getenv("ACCOUNT"), account: os.Getenv("ACCOUNT")}
	page, err := a.opens(os.Args[1])
	finish := finishLink.FindStringSubmatch(page)
	if err == nil && finish == nil {
		err = fmt.Errorf("no way back into the terminal: %s", page)
	}
	if err == nil {
		page, _, err = fetch(http.Get(strings.ReplaceAll(finish[1], "&amp;", "&")))
	}
	if err != nil || !strings.Contains(page, "Back to the terminal") {
		fmt.Fprintln(os.Stderr, "browser:", err, page)
		os.Exit(1)
	}
}

var finishLink = regexp.MustCompile(`id="finish" href="([^"]+)"`)

// connect starts ssh in a terminal of the given size.
func (a *actor) connect(cols, rows int, words ...string) error {
	return a.start(cols, rows, a.ssh(true, words...))
}

// login starts `ssh HOST login` in a terminal, its output going to a file.
func (a *actor) startLogin(path string) error {
	cmd := a.ssh(false, "HOST", "login")
	script := "exec '" + strings.Join(cmd.Args, "' '") + "' > '" + path + "'"
	shell := exec.Command("sh", "-c", script)
	shell.Env = cmd.Env
	return a.start(80, 24, shell)
}

func (a *actor) start(cols, rows int, cmd *exec.Cmd) error {
	if err := a.hangUp(); err != nil {
		return err
	}
	master, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)})
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.screen, a.raw, a.read = vt.NewEmulator(cols, rows), bytes.Buffer{}, 0
	a.master, a.cmd, a.gone = master, cmd, make(chan struct{})
	gone, screen := a.gone, a.screen
	a.mu.Unlock()
	go io.Copy(io.Discard, screen) // the emulator's answers to queries go nowhere; ends with the process
	go a.watch(master, cmd, gone)
	return nil
}

// watch keeps the actor's screen until ssh ends.
func (a *actor) watch(master *os.File, cmd *exec.Cmd, gone chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := master.Read(buf)
		a.mu.Lock()
		a.raw.Write(buf[:n])
		a.screen.Write(buf[:n])
		a.mu.Unlock()
		if bytes.Contains(buf[:n], []byte("\x1b[5n")) {
			master.WriteString("\x1b[0n") // as every terminal does; the emulator says something else
		}
		if err != nil {
			break
		}
	}
	cmd.Wait()
	a.mu.Lock()
	a.status = exitStatus(cmd)
	a.mu.Unlock()
	master.Close()
	close(gone)
}

func exitStatus(cmd *exec.Cmd) int {
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// types presses keys. \r, \n, \t, \e and ^X are understood.
func (a *actor) types(text string) error {
	if a.master == nil {
		return fmt.Errorf("%s is not connected", a.name)
	}
	_, err := a.master.WriteString(keys(text))
	return err
}

var control = regexp.MustCompile(`\^([A-Z])`)

func keys(text string) string {
	text = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\e`, "\x1b").Replace(text)
	return control.ReplaceAllStringFunc(text, func(s string) string { return string(rune(s[1] - '@')) })
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;:?<=>]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>78cDEHM]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)`)

// sees waits until the pattern is in what came after what was seen last or, for
// a program that draws on the whole screen, on the screen as it stands.
func (a *actor) sees(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		found, ended := a.look(re)
		if found {
			return nil
		}
		if ended || time.Now().After(deadline) {
			return fmt.Errorf("%s does not see %q; the terminal shows:\n%s", a.name, pattern, a.shows())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (a *actor) look(re *regexp.Regexp) (found, ended bool) {
	select {
	case <-a.gone:
		ended = true
	default:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.screen == nil {
		return false, true
	}
	if a.screen.IsAltScreen() {
		return re.MatchString(a.screen.String()), ended
	}
	match := re.FindIndex(escapes.ReplaceAll(a.raw.Bytes(), nil)[a.read:])
	if match == nil {
		return false, ended
	}
	a.read += match[1]
	return true, ended
}

func (a *actor) hearsBell() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !bytes.Contains(a.raw.Bytes(), []byte("\a")) {
		return errors.New(a.name + " has heard no bell")
	}
	return nil
}

// looksAt waits until the pattern is on the screen as it stands.
func (a *actor) looksAt(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		a.mu.Lock()
		rows := strings.Split(a.screen.String(), "\n")
		a.mu.Unlock()
		for i := range rows {
			rows[i] = strings.TrimRight(rows[i], " \r")
		}
		if re.MatchString(strings.Join(rows, "\n")) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not have %q on the screen; the terminal shows:\n%s", a.name, pattern, a.shows())
		}
	}
}

// shows is the screen, and the tail of what came.
func (a *actor) shows() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.screen == nil {
		return "(nothing)"
	}
	tail := a.raw.Bytes()
	tail = tail[max(0, len(tail)-3000):]
	return a.screen.String() + "\n--- what came ---\n" + fmt.Sprintf("%q", tail)
}

// ends waits for ssh to end and returns its status.
func (a *actor) ends() (int, error) {
	if a.cmd == nil {
		return 0, fmt.Errorf("%s is not connected", a.name)
	}
	select {
	case <-a.gone:
		return a.status, nil
	case <-time.After(patience):
		return 0, fmt.Errorf("%s is still connected; the terminal shows:\n%s", a.name, a.shows())
	}
}

// hangUp closes the terminal, as when a laptop lid falls.
func (a *actor) hangUp() error {
	if a.cmd == nil {
		return nil
	}
	a.cmd.Process.Kill()
	_, err := a.ends()
	a.cmd = nil
	return err
}

// signs in at the identity provider in a browser of their own, starting from
// the link that twokey printed, and returns the code that the last page shows.
func (a *actor) signsIn(link string) (code string, err error) {
	page, err := a.opens(link)
	if err != nil {
		return "", err
	}
	return shownCode.FindStringSubmatch(page)[1], nil
}

// opens returns the page with the code.
func (a *actor) opens(link string) (page string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar, Timeout: patience}
	page, at, err := fetch(browser.Get(link))
	if err != nil {
		return "", err
	}
	for range 4 {
		if shownCode.MatchString(page) {
			return page, nil
		}
		form := formIn(page)
		if form == nil {
			break
		}
		for _, field := range []string{"username", "password"} {
			if _, has := form.fields[field]; has {
				form.fields.Set(field, a.account)
			}
		}
		target, err := at.Parse(form.action)
		if err != nil {
			return "", err
		}
		if page, at, err = fetch(browser.PostForm(target.String(), form.fields)); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("no code on the page at %s: %s", at, page)
}

var (
	shownCode = regexp.MustCompile(`id="code"[^>]*>\s*([0-9]{6})\s*<`)
	formTag   = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"`)
	inputTag  = regexp.MustCompile(`<(?:input|button)[^>]*>`)
	nameAttr  = regexp.MustCompile(`name="([^"]*)"`)
	valueAttr = regexp.MustCompile(`value="([^"]*)"`)
)

type form struct {
	action string
	fields url.Values
}

func formIn(page string) *form {
	m := formTag.FindStringSubmatch(page)
	if m == nil {
		return nil
	}
	f := &form{action: strings.ReplaceAll(m[1], "&amp;", "&"), fields: url.Values{}}
	for _, tag := range inputTag.FindAllString(page, -1) {
		if name := nameAttr.FindStringSubmatch(tag); name != nil {
			value := ""
			if v := valueAttr.FindStringSubmatch(tag); v != nil {
				value = v[1]
			}
			f.fields.Set(name[1], value)
		}
	}
	return f
}

func fetch(resp *http.Response, err error) (page string, at *url.URL, _ error) {
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(body), resp.Request.URL, err
}
