package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// This file is the story, a chapter a method, in the order in which a person
// gets to know twokey.

// tell plays everything and returns what was not as told.
func (p *play) tell() error {
	chapters := []struct {
		title string
		play  func(*play)
	}{
		{"Morning: everybody gets a certificate", (*play).certificates},
		{"alice asks for production, and nothing opens", (*play).request},
		{"Not alone, and not with just anybody", (*play).refusals},
		{"bob sits down, and psql starts", (*play).opening},
		{"What alice can do", (*play).work},
		{"What bob sees", (*play).watching},
		{"bob leaves, comes back, and stays away", (*play).leaving},
		{"bob kills a statement that runs", (*play).killing},
		{"Nothing lasts before bob says yes", (*play).approving},
		{"Scripts and pipes", (*play).scripts},
		{"The machine dies", (*play).crash},
		{"dave looks into the recordings", (*play).audit},
		{"The proof, without twokey", (*play).proof},
	}
	for i, c := range chapters {
		p.stage.heading("%d. %s", i+1, c.title)
		c.play(p)
		if p.err != nil {
			return fmt.Errorf("in %q: %w", c.title, p.err)
		}
	}
	return nil
}

func (p *play) certificates() {
	p.alice = p.sits("alice", "alice", "config", aliceSize)
	p.alice.types("ssh bastion login > ~/.ssh/id_ed25519-cert.pub")
	p.alice.signsIn()
	p.alice.ends(0)
	p.alice.run("ssh-keygen -L -f ~/.ssh/id_ed25519-cert.pub | grep -E 'ID|Valid|@example|permit'", 0)
	p.show("alice has an ordinary SSH key and nothing else. ssh gives her a link; she signs in there in her browser, with the company's "+
		"identity provider, and types the six digits that the page shows back into ssh. Now she has a certificate for eight hours.", p.alice)
	p.certificate()
	p.alice.clears()
	p.alice.types("ssh bastion")
	p.alice.sees(`You may open`)
	p.show("With it she is not asked again. `ssh bastion`, with any user name that is no database, is the lobby.", p.alice)
	p.alice.presses("q")
	p.alice.ends(0)

	p.bob = p.sits("bob", "bob", "config", bobSize)
	p.carol = p.sits("carol", "carol", "config", bobSize)
	p.dave = p.sits("dave", "dave", "config", daveSize)
	for _, who := range []*person{p.bob, p.carol, p.dave} {
		who.logsIn()
		who.clears()
	}
	if p.err == nil {
		p.stage.says("bob, carol and dave do the same.")
	}
}

// certificate checks what alice was given: one principal, eight hours, a
// terminal and nothing else.
func (p *play) certificate() {
	if p.err != nil {
		return
	}
	out := p.quietly("alice", "ssh-keygen -L -f .ssh/id_ed25519-cert.pub")
	for _, never := range []string{"permit-port-forwarding", "permit-agent-forwarding", "permit-X11-forwarding", "permit-user-rc"} {
		if strings.Contains(out, never) {
			p.fails(fmt.Errorf("the certificate allows %s", never))
		}
	}
	principals := between(out, "Principals:", "Critical Options:")
	if len(principals) != 1 || !strings.Contains(out, "permit-pty") {
		p.fails(fmt.Errorf("this is not the certificate that was told of: %s", out))
		return
	}
	p.stage.checked("one principal, %s; a terminal is allowed, no forwarding of anything", principals[0])
}

// between returns the lines after one that holds from, up to one that holds to.
func between(text, from, to string) []string {
	_, rest, _ := strings.Cut(text, from)
	rest, _, _ = strings.Cut(rest, to)
	return strings.Fields(rest)
}

func (p *play) request() {
	p.alice.clears()
	p.alice.types("ssh orders+write@bastion")
	p.alice.reads(`Reason: `)
	p.alice.types("ticket 42: customer 3 paid")
	p.code = p.alice.reads(`shadow ([0-9A-Z]{5})\b`)
	p.alice.reads(`psql has not started`)
	p.alice.types("delete from orders;")
	p.alice.reads(`goes nowhere`)
	p.show("alice wants to write to the database of orders. She reads what she asked for, that it is recorded, and whom to ask. "+
		"psql has not started; what she types meanwhile is dropped.", p.alice)
	p.database("nobody is logged in as app_rw", "select count(*) from pg_stat_activity where usename = 'app_rw'", "0")
}

func (p *play) refusals() {
	window := p.sits("alice", "alice, another window", "config", bobSize)
	window.run("ssh -t bastion shadow "+p.code, 77)
	window.run("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_second", 0)
	second := p.sits("alice", "alice, with a second key", "config2", bobSize)
	second.types("ssh -t bastion shadow " + p.code)
	second.signsIn()
	second.ends(77)
	p.carol.run("ssh -t bastion shadow "+p.code, 77)
	p.show("She cannot watch herself: not from another window and not with another key. twokey knows people, not keys.", window, second)
	p.show("carol is in marketing. The rule of this mode says engineering.", p.carol)
}

func (p *play) opening() {
	p.bob.types("ssh bastion")
	p.bob.sees(`> ` + p.code + `\b`)
	p.show("bob looks who is waiting. Enter sits down.", p.alice, p.bob)
	p.bob.presses("\r")
	p.bob.sees(`gate op`)
	p.alice.reads(`orders=> `)
	p.bob.sees(`goes nowhere`)
	p.alice.types("select * from orders where customer = 3 order by id limit 5;")
	p.alice.reads(`\(5 rows\)`)
	p.bob.sees(`5 rows`)
	p.show("He sits down. Now, and only now, psql starts. It talks to the database through twokey's gateway, with a password that alice "+
		"never sees. What was on her screen before he came, he sees too.", p.alice, p.bob)
}

// bobSits seats bob and waits until the seat is on his screen.
func (p *play) bobSits() {
	p.bob.types("ssh -t bastion shadow " + p.code)
	p.bob.sees(`gate op`)
}

// bobLeaves gets bob up, who is asked whether he means it.
func (p *play) bobLeaves() {
	p.bobGetsUp()
	p.bob.sees(`(?m)^bob\$$`)
}

func (p *play) bobGetsUp() {
	p.bob.presses("\x18") // Ctrl-X
	p.bob.sees(`(?i)leave\?`)
	p.bob.presses("y")
}

func (p *play) work() {
	a := p.alice
	a.presses("\f") // Ctrl-L
	a.types("select 40+2 as answer;")
	a.reads(`(?m)^\s+42$`)
	a.presses("\x10") // Ctrl-P: the line before
	a.reads(`select 40\+2 as answer;`)
	a.presses("\r")
	a.reads(`(?m)^\s+42$`)
	a.presses("select amount from ord\t")
	a.reads(`from orders `)
	a.presses("where id = 7;\r")
	a.reads(`\(1 row\)`)
	a.types(`\d orders`)
	a.reads(`orders_pkey`)
	p.show("An ordinary psql: history, completion with the tab key, \\d …", p.alice)
	a.types(`\x`)
	a.reads(`Expanded display is on`)
	a.types("select id, state from orders where id = 7;")
	a.reads(`RECORD 1`)
	a.types(`\x`)
	a.reads(`Expanded display is off`)
	a.types(`\copy (select 7*191) to stdout`)
	a.reads(`(?m)^1337$`)
	a.types(`select 'tick' \watch 0.3`)
	a.reads(`(?s)\n tick.*\n tick`)
	a.presses("\x03") // Ctrl-C ends it
	a.reads(`orders=> `)
	p.resizes()
	a.types("select pg_sleep(60);")
	p.bob.sees(`pg_sleep\(60\)`)
	a.presses("\x03")
	a.reads(`canceling statement due to user request`)
	p.show("… \\x, \\copy to her screen, \\watch, another window size, and Ctrl-C on a statement that runs.", p.alice)
	a.types(`\! id`)
	if said := a.reads(`(?s)\\! id\n(.*?)orders=> `); strings.Contains(said, "uid=") {
		p.fails(fmt.Errorf("psql ran a program: %s", said))
	}
	a.types(`\copy orders to '/tmp/stolen'`)
	a.reads(`(?i)(permission denied|not permitted|no such file|read-only file system)`)
	p.show("psql itself sits in a cage: no program, no file, no network but the way to its gateway.", p.alice)
}

// resizes makes alice's window narrower and higher: psql's readline and bob's
// picture follow.
func (p *play) resizes() {
	if p.err == nil {
		p.fails(p.alice.Resize(aliceLater))
	}
	p.alice.types(`\echo wraps ` + strings.Repeat("=", 60))
	p.alice.reads(`(?m)^wraps =+$`)
}

func (p *play) watching() {
	p.alice.presses("\f")
	p.alice.types("update orders set state = 'paid' where customer = 3 and id < 10;")
	p.alice.reads(`UPDATE \d`)
	p.alice.types("select nonsense from orders;")
	p.alice.reads(`does not exist`)
	p.bob.sees(`UPDATE`)
	p.bob.sees(`does not exist|42703`)
	p.show("bob's terminal has another size. He sees her screen as it is, and below it each statement as the database received it, with rows, time "+
		"and errors. It is a rendering: no byte of hers reaches his terminal.", p.alice, p.bob)
	id := p.live()
	p.until("the recording arrives in the store while she works, also the new size of her window", func() bool {
		return len(p.stored(id)) > 0 && !slices.Contains(p.stored(id), "manifest.json") &&
			strings.Contains(p.quietly("dave", "zstd -dcq "+p.folder(id)+"/*.cast.zst"), fmt.Sprintf(`"r","%dx%d"`, aliceLater.Cols, aliceLater.Rows))
	})
}

// live is the ID of the session that runs.
func (p *play) live() string {
	for line := range strings.Lines(p.quietly("dave", "ssh -F .ssh/config bastion sessions --json")) {
		if strings.Contains(line, p.code) {
			return field(line, "id")
		}
	}
	p.fails(fmt.Errorf("session %s is not in the list", p.code))
	return ""
}

func (p *play) leaving() {
	p.alice.presses("\f")
	p.bobGetsUp()
	p.bob.sees(`You may open`)
	p.alice.reads(`(?i)gate is shut`)
	p.alice.types("drop table orders;")
	p.alice.reads(`goes nowhere`)
	p.show("bob gets up, and is back in the lobby. The gate shuts at once: what alice types goes nowhere.", p.alice, p.bob)
	p.bob.presses("q")
	p.bob.sees(`(?m)^bob\$$`)
	p.bobSits()
	p.alice.reads(`(?i)gate is open`)
	p.alice.presses("\r")
	p.alice.types("begin; update orders set state = 'held' where id = 1;")
	p.alice.reads(`UPDATE 1`)
	p.bob.sees(`UPDATE 1`)
	p.show("He comes back within the grace time, and it goes on. alice begins a transaction …", p.alice, p.bob)
	p.bobLeaves()
	p.alice.reads(`shadow-gone|no shadow came back`)
	p.alice.ends(1)
	p.show("… he leaves again, and stays away. The session ends.", p.alice, p.bob)
	p.database("her transaction was rolled back", "select state from orders where id = 1", "new")
	p.database("nobody is logged in as app_rw", "select count(*) from pg_stat_activity where usename = 'app_rw'", "0")
}

func (p *play) killing() {
	p.alice.clears()
	p.alice.types("ssh orders+write@bastion")
	p.alice.reads(`Reason: `)
	p.alice.types("ticket 43")
	p.recording = p.alice.reads(`([0-9A-HJKMNP-TV-Z]{26})`)
	p.code = p.alice.reads(`shadow ([0-9A-Z]{5})\b`)
	p.bob.clears()
	p.bobSits()
	p.alice.reads(`orders=> `)
	p.alice.types("update orders set state = pg_sleep(60)::text;")
	p.bob.sees(`pg_sleep`)
	p.database("the UPDATE runs", "select count(*) from pg_stat_activity where usename = 'app_rw' and query like 'update%' and state = 'active'", "1")
	p.show("The next session. alice forgot the WHERE.", p.alice, p.bob)
	p.bob.presses("\x0b") // Ctrl-K
	p.alice.reads(`(?i)gate is shut`)
	p.bob.presses("forgot the WHERE")
	p.bob.sees(`forgot the WHERE`)
	p.show("bob presses Ctrl-K. The gate is shut from now on; he may take his time to say why.", p.alice, p.bob)
	p.bob.presses("\r")
	p.alice.reads(`killed by bob.*forgot the WHERE`)
	p.alice.ends(137)
	p.bob.sees(`(?m)^bob\$$`)
	p.show("Enter: statement, connection and psql are gone.", p.alice, p.bob)
	p.database("the backend is gone", "select count(*) from pg_stat_activity where usename = 'app_rw'", "0")
	p.database("nothing was committed", "select count(*) from orders where state not in ('new','paid')", "0")
}

func (p *play) approving() {
	a, b := p.alice, p.bob
	a.clears()
	a.types("ssh orders+repair@bastion")
	p.code = a.reads(`shadow ([0-9A-Z]{5})\b`)
	b.clears()
	p.bobSits()
	a.reads(`orders=> `)
	a.types("delete from orders where customer > 3;")
	b.sees(`asks to COMMIT`)
	b.sees(`DELETE \d`)
	p.show("In this mode, repair, a write runs and waits: bob sees how many rows it touched before anything lasts.", a, b)
	p.answers("\x0e") // Ctrl-N
	b.presses("all but three?\r")
	a.reads(`ERROR.*said no: all but three\?`)
	p.database("nothing is deleted", "select count(*) from orders where customer > 3", "16")
	a.types("delete from orders where customer = 3 and id = 37;")
	b.sees(`DELETE 1`)
	p.answers("\x19") // Ctrl-Y
	a.reads(`(?m)^DELETE 1$`)
	p.show("A no is an SQL error, and the session goes on. A yes is a COMMIT.", a, b)
	a.types(`\q`)
	a.ends(0)
	p.database("one order is deleted", "select count(*) from orders where id = 37", "0")
}

// answers presses a key at the question that bob sees, once it has been there
// for a moment: a key at once would be taken for one that was meant for something else.
func (p *play) answers(key string) {
	time.Sleep(700 * time.Millisecond)
	p.bob.presses(key)
}

func (p *play) scripts() {
	a := p.alice
	a.clears()
	a.run(`ssh orders@bastion -- --csv -c 'select id, state from orders where id < 4 order by id' > out.csv`, 0)
	a.run("cat out.csv", 0)
	a.run(`echo 'select 6*7;' | ssh orders@bastion -- -At`, 0)
	a.run(`ssh orders@bastion -- -c 'delete from orders'`, 1)
	a.run(`ssh orders+write@bastion -- -c 'select 1'`, 77)
	p.show("Without a terminal: clean output for pipes, psql's own exit status, the same gate and the same recording. This mode, read, may be "+
		"opened alone, and its database role can only read.", p.alice)
	if p.err == nil && p.quietly("alice", "cat out.csv") != "id,state\n1,new\n2,paid\n3,new\n" {
		p.fails(fmt.Errorf("out.csv is %q", p.quietly("alice", "cat out.csv")))
	}
}

func (p *play) crash() {
	p.alice.clears()
	p.alice.types("ssh orders@bastion")
	id := p.alice.reads(`([0-9A-HJKMNP-TV-Z]{26})`)
	p.alice.reads(`orders=> `)
	p.alice.types("select 'the last' || ' word';")
	p.alice.reads(`the last word`)
	if p.err != nil {
		return
	}
	p.fails(p.house.Bastion.End(syscall.SIGKILL))
	p.alice.ends(255)
	p.show("The bastion is killed in the middle of a session, with kill -9. alice's ssh ends.", p.alice)
	if p.err == nil {
		p.fails(p.house.StartBastion(p.ctx))
	}
	p.until("after its start, the session is sealed in the store, with the end \"unclean\"", func() bool {
		return slices.Contains(p.stored(id), "manifest.json") && strings.Contains(p.quietly("dave", "cat "+p.folder(id)+"/manifest.json"), `"unclean"`)
	})
	p.until("all that alice had seen is in it", func() bool {
		return strings.Contains(p.quietly("dave", "ssh -F .ssh/config bastion export "+id), "the last word")
	})
	p.database("nobody is logged in as app_ro", "select count(*) from pg_stat_activity where usename = 'app_ro'", "0")
}

func (p *play) audit() {
	d := p.dave
	p.until("the killed session is sealed", func() bool { return slices.Contains(p.stored(p.recording), "manifest.json") })
	d.clears()
	d.run("ssh bastion sessions --user alice@example.com | cut -c 1-105", 0)
	d.run("ssh bastion sessions --grep 'pg_sleep(60)::text' | cut -c 1-105", 0)
	d.run("ssh bastion replay "+p.recording+" --at 100ms --speed 20 --max-idle 100ms | tail -n 7", 0)
	p.show("dave is an auditor. He lists, searches and replays …", d)
	d.clears()
	d.run("ssh bastion export "+p.recording+" > x.cast", 0)
	d.run("asciinema play -s 50 -i 0.1 x.cast > played", 0)
	d.run("ssh bastion verify "+p.recording, 0)
	d.run("ssh bastion verify --all", 0)
	p.show("… exports what every player of terminal recordings plays, and verifies.", d)
	p.alice.clears()
	p.alice.run("ssh bastion replay "+p.recording, 77)
	p.show("alice may not.", p.alice)
	p.until("that dave looked is itself logged", func() bool { return p.logged("audit", "dave", p.recording) })
	if !strings.Contains(p.quietly("dave", "cat played"), "pg_sleep") {
		p.fails(fmt.Errorf("what asciinema plays is not what alice typed"))
	}
}

// proof is for somebody who has the store, the public key, and no twokey.
func (p *play) proof() {
	if p.err != nil {
		return
	}
	p.stage.says("A recording is a folder in the store. Whoever has the public half of the recording key can prove it with OpenSSH, sha256sum and zstd.")
	dir := p.folder(p.recording)
	p.outside(dir, `echo "twokey $(cat `+p.house.Path("etc", "keys", "recording.pub")+`)" > `+p.house.Path("signers"))
	p.outside(dir, "ls")
	p.outside(dir, p.verifyCommand())
	p.outside(dir, sumCommand)
	p.outside(dir, "zstd -dcq *.cast.zst > "+p.house.Path("whole.cast"))
	p.outside(dir, "asciinema play -s 50 -i 0.1 "+p.house.Path("whole.cast")+" > "+p.house.Path("played"))
	if p.err == nil && !strings.Contains(p.quietly("dave", "cat "+p.house.Path("played")), "forgot the WHERE") {
		p.fails(fmt.Errorf("the end is not in what was played"))
	}
	if p.err == nil {
		p.stage.checked("the signature is good, the hashes fit, and it plays")
	}
}

const sumCommand = `sed -nE 's/^   "sum": "([0-9a-f]{64}  [0-9]{8}\.cast\.zst(\.age)?)",?$/\1/p' manifest.json | sha256sum -c`

func (p *play) verifyCommand() string {
	return "ssh-keygen -Y verify -f " + p.house.Path("signers") + " -I twokey -n twokey-manifest -s manifest.json.sig < manifest.json"
}
