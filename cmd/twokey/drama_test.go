package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session/pgwire/label"
	"github.com/twokey/twokey/session/pgwire/pgtest"
)

// The dramas: stories in testdata, played by people with real OpenSSH clients
// on a real bastion with a real Postgres, S3 server and identity provider.
// Postgres and the identity provider are shared; each drama has a bastion and
// an S3 server of its own, because dramas kill them.

func TestMain(m *testing.M) {
	if label.Main() {
		return
	}
	if status, is := answering(os.Args[1:]); is {
		os.Exit(status)
	}
	if os.Getenv(asMain) != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"twokey": asService, "browse": browse})
}

// asMain is the variable with which this binary is twokey itself, for tests that kill it.
const asMain = "TWOKEY_TEST_MAIN"

// asService is twokey as the systemd unit runs it (MemoryDenyWriteExecute): no
// memory that was written becomes code, here and in whatever it starts. The
// parser of labels then interprets what it would compile for two seconds.
func asService() {
	// Kernels before 6.3 do not know it.
	unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
	main()
}

func TestDramas(t *testing.T) {
	stage := newStage(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup:               stage.setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"alice": acts("alice"), "alice2": acts("alice2"), "bob": acts("bob"), "bob2": acts("bob2"), "carol": acts("carol"),
			"dave": acts("dave"), "erin": acts("erin"), "frank": acts("frank"), "sam": acts("sam"),
			"bastion": bastionCmd, "s3": s3Cmd, "sql": sqlCmd, "remember": rememberCmd, "noticed": noticedCmd, "tape": tapeCmd, "watch": watchCmd,
			"exists-soon": existsSoonCmd, "monitored": monitoredCmd,
		},
	})
}

// cast is who there is, and whose account they sign in with: bob2 is bob at
// another machine, with another key. alice2 is another account of alice's.
var cast = map[string]string{
	"alice": "alice", "alice2": "alice2", "bob": "bob", "bob2": "bob", "carol": "carol", "dave": "dave", "erin": "erin", "frank": "frank", "sam": "sam",
}

// stage is what all dramas share.
type stage struct {
	pg     *pgtest.Cluster
	issuer string
	webs   chan string // addresses whose login pages the identity provider knows
}

const maxDramas = 40

func newStage(t *testing.T) *stage {
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Stop)
	for _, sql := range []string{roles, "create database orders"} {
		if out, err := pg.Exec(sql); err != nil {
			t.Fatal(out, err)
		}
	}
	if out, err := pg.ExecIn("orders", orders); err != nil {
		t.Fatal(out, err)
	}
	issuer := "http://" + freeAddr()
	st := &stage{pg: pg, issuer: issuer, webs: make(chan string, maxDramas)}
	var redirects []string
	for range maxDramas {
		web := freeAddr()
		st.webs <- web
		redirects = append(redirects, "http://"+web+"/login/callback")
	}
	idp := exec.Command(tool("demo-idp"), "--listen", strings.TrimPrefix(issuer, "http://"), "--issuer", issuer,
		"--client-id", "twokey", "--client-secret", "demo", "--redirect", strings.Join(redirects, ","))
	idp.Stderr = os.Stderr
	if err := idp.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { idp.Process.Kill(); idp.Wait() })
	answers(t, issuer+"/.well-known/openid-configuration")
	return st
}

// The database of the dramas: a table, and two roles that are not its owner.
const (
	roles = `create role app_ro login password 'ro-secret'; create role app_rw login password 'rw-secret';
create role app_many login password 'many-secret';
create role app_own; create role maker createrole login password 'maker-secret'; grant app_own to maker with admin option`
	orders = `
create table orders (id int primary key, state text not null);
insert into orders select i, 'new' from generate_series(1, 100) i;
grant select on orders to app_ro;
grant select, insert, update, delete on orders to app_rw, app_many, app_own;
grant create on schema public to app_own;
`
)

// tool finds a program that `make deps` puts into bin.
func tool(name string) string {
	path, err := filepath.Abs("../../bin/" + name)
	if err != nil {
		panic(err)
	}
	if _, err := os.Stat(path); err != nil {
		panic(fmt.Sprintf("%s is missing: run make deps", path))
	}
	return path
}

func freeAddr() string {
	for {
		// Below the ports that the kernel gives to clients, so that none takes it
		// before its server does.
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000))); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
}

func answers(t testing.TB, url string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s does not answer", url)
}

// drama is one story's own world.
type drama struct {
	*stage
	dir     string
	sshAddr string
	web     string
	s3Addr  string
	monitor string
	people  map[string]*actor
	watch   time.Time // when it was last started
	notices *notices
	bastion *exec.Cmd
	s3      *exec.Cmd
}

type dramaKey struct{}

func (st *stage) setup(env *testscript.Env) error {
	d := &drama{stage: st, dir: env.WorkDir, sshAddr: freeAddr(), web: <-st.webs, s3Addr: freeAddr(), monitor: freeAddr(), people: map[string]*actor{}, notices: hearNotices()}
	env.Values[dramaKey{}] = d
	env.Defer(d.close)
	env.Setenv("PGPORT", fmt.Sprint(d.pg.Port))
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql"); len(found) > 0 {
		env.Setenv("PSQL", found[len(found)-1])
	}
	env.Setenv("SSH_PORT", d.sshAddr[strings.LastIndexByte(d.sshAddr, ':')+1:])
	env.Setenv("IDP", d.issuer)
	env.Setenv("WEB", "http://"+d.web)
	second, err := filepath.Abs("testdata/second-idp")
	if err != nil {
		return err
	}
	env.Setenv("SECOND_IDP", second)
	env.Setenv("SECOND_PORT", strings.TrimPrefix(freeAddr(), "127.0.0.1:"))
	env.Setenv("STORE", filepath.Join(d.dir, "s3", "recordings"))
	env.Setenv("XDG_CACHE_HOME", filepath.Join(d.dir, "cache"))
	if err := d.startS3(); err != nil {
		return err
	}
	for name, account := range cast {
		a, err := newActor(name, account, filepath.Join(d.dir, name))
		if err != nil {
			return err
		}
		d.people[name] = a
		env.Setenv(strings.ToUpper(name), a.home)
	}
	if _, err := captured("twokey", d.dir, "init", "--dir", filepath.Join(d.dir, "etc"), "--host", "127.0.0.1"); err != nil {
		return err
	}
	return d.configure()
}

// captured runs a program of the drama's own and returns what it printed.
func captured(name, dir string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

const config = `
ssh: {listen: %q, host_key: {file: keys/host}}
http: {listen: %q, url: %q}
state: state
drain: 2s
login:
  issuer: %q
  client_id: twokey
  client_secret: demo
  scopes: [openid, email, profile, groups]
  claims: {name: email, groups: groups, team: department, same_person: employee_id}
certificates: {user_ca: {file: keys/user_ca}, host_ca: {file: keys/host_ca}}
recordings:
  store: s3://recordings
  s3: {endpoint: %q, region: us-east-1, access_key: demo, secret_key: demo-secret}
  signing_key: {file: keys/recording}
  max_lag: {time: 3s, bytes: 64MiB}
auditors: {groups: [security]}
admins: {groups: [platform]}
notify: [{webhook: {url: %q, secret: not-so-secret}}]
monitor: {listen: %q}
targets:
  - name: orders
    postgres: {host: %q, port: %d, database: orders, sslmode: disable}
    modes:
      - {name: read, login: {user: app_ro, password: ro-secret}, engineers: {groups: [engineering]}, shadows: none}
      - name: write
        login: {user: app_rw, password: rw-secret}
        engineers: {groups: [engineering]}
        reason: required
        limits: {wait: 30s, grace: 5s}
      - {name: pair, login: {user: app_rw, password: rw-secret}, engineers: {groups: [engineering]}, limits: {wait: 10s, grace: 2s}}
      - {name: own, login: {admin: {user: maker, password: maker-secret}, member_of: [app_own]}, engineers: {groups: [engineering]}, limits: {wait: 20s}}
      - {name: cmd, login: {user: app_ro, password_command: [echo, ro-secret]}, engineers: {groups: [engineering]}, shadows: none}
      - {name: each, login: {user: app_rw, password: rw-secret}, engineers: {groups: [engineering]}, approve: each, limits: {wait: 20s, approval: 3s}}
      - {name: ask, login: {user: app_rw, password: rw-secret}, engineers: {groups: [engineering]}, approve: writes, limits: {wait: 20s}}
      - {name: commit, login: {user: app_rw, password: rw-secret}, engineers: {groups: [engineering]}, approve: commit, limits: {wait: 20s}}
      - {name: awake, login: {user: app_rw, password: rw-secret}, engineers: {groups: [engineering]}, limits: {wait: 20s, presence: 3s, rows: 150}}
      # These have a role that no other drama counts the connections of.
      - {name: patient, login: {user: app_many, password: many-secret}, engineers: {groups: [engineering]}, limits: {wait: 60s, grace: 60s}}
      - {name: two, login: {user: app_many, password: many-secret}, engineers: {groups: [engineering]}, limits: {wait: 60s, grace: 60s}, shadows: [{count: 2, groups: [engineering]}]}
      - {name: roles, login: {user: app_many, password: many-secret}, engineers: {groups: [engineering]}, limits: {wait: 60s, grace: 60s}, shadows: [{count: 1, groups: [platform]}, {count: 1, groups: [engineering]}]}
      - {name: teams, login: {user: app_many, password: many-secret}, engineers: {groups: [engineering]}, limits: {wait: 60s, grace: 60s}, shadows: [{count: 1, groups: [dba]}, {count: 1, groups: [engineering], other: team}]}
`

func (d *drama) configure() error {
	text := fmt.Sprintf(config, d.sshAddr, d.web, "http://"+d.web, d.issuer, "http://"+d.s3Addr, d.notices.URL, d.monitor, d.pg.Host, d.pg.Port)
	return os.WriteFile(filepath.Join(d.dir, "etc", "twokey.yaml"), []byte(text), 0o600)
}

func (d *drama) close() {
	for _, a := range d.people {
		a.hangUp()
		if a.network != nil {
			a.network.close()
		}
	}
	d.stopBastion(syscall.SIGKILL)
	d.stopS3()
	d.notices.Close()
}

func (d *drama) startS3() error {
	if err := os.MkdirAll(filepath.Join(d.dir, "s3", "recordings"), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "s3.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.s3 = exec.Command(tool("versitygw"), "--access", "demo", "--secret", "demo-secret", "--port", d.s3Addr, "--quiet", "posix", filepath.Join(d.dir, "s3"))
	d.s3.Stdout, d.s3.Stderr = log, log
	if err := d.s3.Start(); err != nil {
		return err
	}
	return listening(d.s3Addr)
}

func (d *drama) stopS3() {
	if d.s3 != nil {
		d.s3.Process.Kill()
		d.s3.Wait()
		d.s3 = nil
	}
}

func listening(addr string) error {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("nothing listens on %s", addr)
}

func (d *drama) startBastion() error {
	log, err := os.OpenFile(filepath.Join(d.dir, "bastion.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.bastion = exec.Command("twokey", "serve", "--config", filepath.Join(d.dir, "etc", "twokey.yaml"))
	d.bastion.Stdout, d.bastion.Stderr = log, log
	d.bastion.Env = append(os.Environ(), "TMPDIR=/tmp") // a unix socket's path is short
	if err := d.bastion.Start(); err != nil {
		return err
	}
	for _, addr := range []string{d.sshAddr, d.web} {
		if err := listening(addr); err != nil {
			return fmt.Errorf("%w; its log: %s", err, d.bastionLog())
		}
	}
	resp, err := http.Get("http://" + d.web + "/known_hosts")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	hosts, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(d.sshAddr)
	for _, a := range d.people {
		if err := a.meet(port, string(hosts)); err != nil {
			return err
		}
	}
	return nil
}

func (d *drama) bastionLog() string {
	log, _ := os.ReadFile(filepath.Join(d.dir, "bastion.log"))
	return string(log)
}

func (d *drama) stopBastion(sig syscall.Signal) {
	if d.bastion == nil {
		return
	}
	d.bastion.Process.Signal(sig)
	d.bastion.Wait()
	d.bastion = nil
}

func world(ts *testscript.TestScript) *drama { return ts.Value(dramaKey{}).(*drama) }

// bastion start | stop | begins-to-stop | stops-at-once | kill | logs PATTERN
func bastionCmd(ts *testscript.TestScript, neg bool, args []string) {
	d := world(ts)
	switch args[0] {
	case "start":
		ts.Check(d.startBastion())
	case "stop":
		d.stopBastion(syscall.SIGTERM)
	case "begins-to-stop": // a first Ctrl-C
		ts.Check(d.bastion.Process.Signal(syscall.SIGINT))
	case "stops-at-once": // a second one
		d.stopBastion(syscall.SIGINT)
	case "kill":
		d.stopBastion(syscall.SIGKILL)
	case "logs":
		waitFor(ts, func() error { return match(d.bastionLog(), args[1], neg, "the bastion's log") })
	default:
		ts.Fatalf("usage: bastion start|stop|begins-to-stop|stops-at-once|kill|logs PATTERN")
	}
}

// s3 start | stop
func s3Cmd(ts *testscript.TestScript, _ bool, args []string) {
	switch d := world(ts); args[0] {
	case "start":
		ts.Check(d.startS3())
	case "stop":
		d.stopS3()
	}
}

// sql QUERY PATTERN: what the database says, asked by its superuser.
func sqlCmd(ts *testscript.TestScript, neg bool, args []string) {
	d := world(ts)
	waitFor(ts, func() error {
		out, err := d.pg.ExecIn("orders", args[0])
		if err != nil {
			return err
		}
		return match(out, args[1], neg, args[0])
	})
}

// exists-soon FILE: waits until it is there.
func existsSoonCmd(ts *testscript.TestScript, _ bool, args []string) {
	waitFor(ts, func() error {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err
	})
}

// remember WHERE NAME PATTERN: the first group of the pattern, on an actor's
// screen or in a file, becomes $NAME.
func rememberCmd(ts *testscript.TestScript, _ bool, args []string) {
	d := world(ts)
	re := regexp.MustCompile(args[2])
	var text string
	if a, ok := d.people[args[0]]; ok {
		text = a.shows()
	} else {
		text = ts.ReadFile(args[0])
	}
	m := re.FindStringSubmatch(text)
	if m == nil {
		ts.Fatalf("no %q in: %s", args[2], text)
	}
	ts.Setenv(args[1], m[1])
}

// watch start | under DURATION
func watchCmd(ts *testscript.TestScript, _ bool, args []string) {
	d := world(ts)
	if args[0] == "start" {
		d.watch = time.Now()
		return
	}
	most, err := time.ParseDuration(args[1])
	ts.Check(err)
	if took := time.Since(d.watch); took > most {
		ts.Fatalf("it took %v, more than %v", took, most)
	}
}

func waitFor(ts *testscript.TestScript, check func() error) {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func match(text, pattern string, neg bool, where string) error {
	found := regexp.MustCompile(`(?m)` + pattern).MatchString(text)
	if found == neg {
		return fmt.Errorf("%s: pattern %q found %v in: %s", where, pattern, found, text)
	}
	return nil
}

// acts makes the command of one person:
//
//	alice login                    a certificate, through ssh, a browser and the code
//	! alice login PATTERN          she reads this instead
//	alice connects [COLSxROWS] WORDS...   ssh in a terminal
//	alice runs [<FILE] WORDS...    ssh without one; stdout and stderr are kept for the script
//	alice types KEYS
//	alice sees PATTERN             waits for it
//	alice looks-at PATTERN         waits until it is on her screen as it stands, rows ending in \n
//	alice says-yes [all], says-no WHY   to the question on her screen, once it has been there for a moment
//	bob hears-bell                 waits until it has rung
//	bob settles                    longer than it takes until Enter means what the cursor is on
//	bob reads-lines WORDS...       as connects, in a terminal that cannot be drawn on
//	alice ends [STATUS]            waits until ssh has ended
//	alice hangs-up | freezes | thaws
//	alice resizes COLSxROWS
//	alice does PROGRAM WORDS...    in a terminal, with a browser that signs her in
//	alice reads-code LINK          in a browser somewhere else, and types it
//	alice starts-agent | stops-agent   an ssh-agent; its socket is $ALICE_AGENT
//	alice listens WORDS...         ssh -T in a terminal: lines instead of a screen
//	alice opens-window WORDS...    as connects, in a terminal program that freezes and thaws stop, and not ssh
//	alice pastes N TEXT            N times, %d being the number; goes on by itself
//	alice keeps-typing KEYS | stops-typing
//	bob comes-and-goes N CODE      sits down as shadow and leaves, in different ways
//	bob expires-in DURATION        his certificate does
//	bob roams                      from now on through a network of his own
//	bob loses-packets | gets-packets
func acts(name string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		a := world(ts).people[name]
		if len(args) == 0 {
			ts.Fatalf("what does %s do?", name)
		}
		switch verb, rest := args[0], args[1:]; verb {
		case "login":
			err := a.login()
			if neg && err != nil {
				err = match(err.Error(), rest[0], false, "what "+name+" reads")
			} else if neg {
				err = errors.New(name + " has logged in")
			}
			ts.Check(err)
		case "signs-in": // as login, up to what she reads then
			ts.Check(a.signIn())
		case "connects":
			cols, rows := 80, 24
			if n, _ := fmt.Sscanf(rest[0], "%dx%d", &cols, &rows); n == 2 {
				rest = rest[1:]
			}
			ts.Check(a.connect(cols, rows, rest...))
		case "runs":
			runs(ts, a, neg, rest)
		case "runs-until": // as runs, again and again until it succeeds
			waitFor(ts, func() error { return a.run(ts, rest) })
		case "runs-for": // as runs, again and again until its output matches
			waitFor(ts, func() error {
				if err := a.run(ts, rest[1:]); err != nil {
					return err
				}
				return match(ts.ReadFile(a.name+".out"), rest[0], neg, strings.Join(rest[1:], " "))
			})
		case "types":
			ts.Check(a.types(rest[0]))
		case "sees":
			ts.Check(a.sees(rest[0]))
		case "hears-bell":
			waitFor(ts, a.hearsBell)
		case "settles":
			time.Sleep(time.Second)
		case "reads-lines":
			cmd := a.ssh(true, rest...)
			cmd.Env = append(cmd.Env, "TERM=dumb")
			ts.Check(a.start(80, 24, cmd))
		case "looks-at":
			ts.Check(a.looksAt(rest[0]))
		case "says-yes", "says-no":
			time.Sleep(700 * time.Millisecond) // a key at once was meant for something else
			key := "^Y"
			if verb == "says-no" {
				key = "^N" + rest[0] + `\r`
			} else if len(rest) > 0 {
				key = "^A"
			}
			ts.Check(a.types(key))
		case "ends":
			status, err := a.ends()
			ts.Check(err)
			if len(rest) > 0 && fmt.Sprint(status) != rest[0] {
				ts.Fatalf("%s's ssh ended with %d, want %s; the terminal shows:\n%s", name, status, rest[0], a.shows())
			}
		case "hangs-up":
			ts.Check(a.hangUp())
		case "freezes":
			ts.Check(a.cmd.Process.Signal(syscall.SIGSTOP))
		case "thaws":
			ts.Check(a.cmd.Process.Signal(syscall.SIGCONT))
		case "resizes":
			ts.Check(a.resize(rest[0]))
		case "does":
			ts.Check(a.do(rest))
		case "reads-code": // in a browser somewhere else, and types it
			code, err := a.signsIn(rest[0])
			ts.Check(err)
			ts.Check(a.types(code + `\r`))
		case "starts-agent":
			socket, err := a.startAgent()
			ts.Check(err)
			ts.Defer(a.stopAgent)
			ts.Setenv(strings.ToUpper(name)+"_AGENT", socket)
		case "stops-agent":
			a.stopAgent()
		case "listens":
			ts.Check(a.start(80, 24, a.ssh(false, rest...)))
		case "opens-window":
			ts.Check(a.openWindow(rest...))
		case "pastes":
			ts.Check(a.paste(rest[0], rest[1]))
		case "keeps-typing":
			a.keepTyping(rest[0])
		case "stops-typing":
			ts.Check(a.stopTyping())
		case "comes-and-goes":
			ts.Check(a.comeAndGo(rest[0], rest[1]))
		case "expires-in":
			ts.Check(a.grow(rest[0], filepath.Join(world(ts).dir, "etc", "keys", "user_ca")))
		case "roams":
			ts.Check(a.roam(world(ts).sshAddr))
		case "loses-packets":
			ts.Check(a.network.drop())
		case "gets-packets":
			ts.Check(a.network.mend())
		default:
			ts.Fatalf("%s does not know how to %s", name, verb)
		}
	}
}

// runs is ssh without a terminal: `alice runs 3 <script HOST whoami` wants the
// status 3, which is 0 unless said.
func runs(ts *testscript.TestScript, a *actor, neg bool, words []string) {
	if err := a.run(ts, words); (err == nil) == neg {
		ts.Fatalf("%v", err)
	}
}

func (a *actor) run(ts *testscript.TestScript, words []string) error {
	want := "0"
	if status.MatchString(words[0]) {
		want, words = words[0], words[1:]
	}
	var stdin io.Reader
	if strings.HasPrefix(words[0], "<") {
		stdin, words = strings.NewReader(ts.ReadFile(words[0][1:])), words[1:]
	}
	cmd := a.ssh(false, words...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	ts.Check(cmd.Start())
	late := time.AfterFunc(2*patience, func() { cmd.Process.Kill() })
	cmd.Wait()
	late.Stop()
	ts.Check(os.WriteFile(ts.MkAbs(a.name+".out"), out.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(a.name+".err"), errs.Bytes(), 0o600))
	if got := fmt.Sprint(exitStatus(cmd)); got != want {
		return fmt.Errorf("%s: ssh %s ended with %s, want %s: %s%s", a.name, strings.Join(words, " "), got, want, clip(out.String()), clip(errs.String()))
	}
	return nil
}

var status = regexp.MustCompile(`^[0-9]+$`)

func clip(s string) string { return s[:min(len(s), 4000)] }

// login gets a certificate the way people do: ssh prints a link, a browser
// signs in, the code goes back into ssh.
func (a *actor) login() error {
	if err := a.signIn(); err != nil {
		return err
	}
	if status, err := a.ends(); err != nil || status != 0 {
		return fmt.Errorf("login of %s: status %d, %v: %s", a.name, status, err, a.shows())
	}
	return nil
}

func (a *actor) signIn() error {
	if err := a.startLogin(filepath.Join(a.home, "id_ed25519-cert.pub")); err != nil {
		return err
	}
	if err := a.sees(`https?://\S+/login/\S+`); err != nil {
		return err
	}
	link := regexp.MustCompile(`https?://\S+/login/[0-9A-Z-]+`).FindString(a.shows())
	code, err := a.signsIn(link)
	if err != nil {
		return err
	}
	return a.types(code + `\r`)
}
