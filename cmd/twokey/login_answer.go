package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
	"unicode"
)

// This file answers what OpenSSH asks during a login: it was started by OpenSSH as
// its SSH_ASKPASS, with the prompt as its argument, and prints the answer. It opens
// the link of the prompt in the browser, and takes the code from whichever comes
// first: the page, which hands it to loopback when the person says so, or the keyboard.
//
// The link stands in the arguments of this program and of the browser, where other users
// of the machine may read it. Whoever opens it first binds the login to their browser,
// and could sign in as themselves, so that somebody else works under their name. So a
// code counts only when it comes from this user's own program or, where the system
// does not tell, when the person has said that it is the one that their page showed.

// answering reports whether this process was started to answer, and does so.
func answering(args []string) (status int, is bool) {
	browser := os.Getenv(inLogin)
	if browser == "" || len(args) != 1 {
		return 0, false
	}
	for _, ours := range []string{inLogin, "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"} {
		os.Unsetenv(ours) // a browser outlives this
	}
	ctx, cancel := context.WithTimeout(context.Background(), loginTime)
	defer cancel()
	code, err := answer(ctx, args[0], browser, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "twokey:", err)
		return 1, true
	}
	fmt.Println(code)
	return 0, true
}

// theLink is the one link that may be in a prompt, and the login it is for.
var theLink = regexp.MustCompile(`https?://[A-Za-z0-9.:\[\]-]{1,260}/login/([0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4})\b`)

// answer returns what the person says to a prompt.
func answer(ctx context.Context, prompt, browser string, say io.Writer) (string, error) {
	fmt.Fprintf(say, "\n%s", readable(prompt))
	typed := typedLine()
	link := theLink.FindStringSubmatch(prompt)
	if link == nil || browser == noBrowser {
		return wait(ctx, nil, typed, say)
	}
	heard, err := listenFor(link[1])
	if err != nil {
		return wait(ctx, nil, typed, say) // no loopback: the code can be typed
	}
	defer heard.close()
	if err := open(browser, link[0]+heard.query()); err != nil {
		fmt.Fprintf(say, "\n(no browser could be opened: %v)\nCode: ", err)
	}
	return wait(ctx, heard.code, typed, say)
}

// wait returns the first answer. With no keyboard and no browser there is none.
func wait(ctx context.Context, heard <-chan heardCode, typed <-chan string, say io.Writer) (string, error) {
	offered := ""
	for {
		select {
		case h := <-heard:
			if h.sure {
				fmt.Fprintln(say, "from the browser")
				return h.code, nil
			}
			offered = h.code
			fmt.Fprintf(say, "%s, says a browser on this machine.\nIf that is the code that your page showed, press Enter; if it showed another or none, Ctrl-C: ", offered)
		case line, ok := <-typed:
			if ok && line == "" {
				return offered, nil
			}
			if ok {
				return line, nil
			}
			if typed = nil; heard == nil {
				return "", errors.New("nobody is here to sign in: there is neither a browser nor a terminal")
			}
		case <-ctx.Done():
			return "", errors.New("nobody signed in")
		}
	}
}

// typedLine reads a line from the terminal: standard input may be something else's.
// The channel is closed when there is no terminal. The reading goroutine ends with the
// process, which ends with the first answer.
func typedLine() <-chan string {
	line := make(chan string, 1)
	go func() {
		defer close(line)
		tty, err := os.Open(terminalName())
		if err != nil {
			return
		}
		defer tty.Close()
		if text, err := bufio.NewReader(io.LimitReader(tty, 1<<10)).ReadString('\n'); err == nil {
			line <- strings.TrimSpace(text)
		}
	}()
	return line
}

func terminalName() string {
	if runtime.GOOS == "windows" {
		return "CONIN$"
	}
	return "/dev/tty"
}

// readable is a prompt without what could drive a terminal, and without the name
// that OpenSSH puts in front of it.
func readable(prompt string) string {
	if name, rest, ok := strings.Cut(prompt, ") "); ok && strings.HasPrefix(name, "("+lobby+"@") {
		prompt = rest
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, prompt)
}

// heardCode is a code that came on loopback.
type heardCode struct {
	code string
	sure bool // from a program of this user's
}

// ear hears the code of one login. It listens on an address that only this machine
// reaches, knows the login that is meant, and hands over one code; what it hears is
// worth nothing without the connection that has proven the key.
type ear struct {
	login  string
	door   net.Listener
	server *http.Server
	owner  func(from, to netip.AddrPort) (uid int, known bool)
	code   chan heardCode
}

func listenFor(login string) (*ear, error) {
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &ear{login: login, door: door, owner: ownerOf, code: make(chan heardCode, 1)}
	l.server = &http.Server{
		Handler: l, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10,
	}
	go l.server.Serve(door) // ends with close
	return l, nil
}

// close lets the page that is on its way arrive.
func (l *ear) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	l.server.Shutdown(ctx)
}

// query tells the bastion's page where this machine listens.
func (l *ear) query() string {
	return fmt.Sprintf("?port=%d", l.door.Addr().(*net.TCPAddr).Port)
}

var sixDigits = regexp.MustCompile(`^[0-9]{6}$`)

// ServeHTTP takes the code. Other pages may guess the port: they know neither the
// name of the login nor, when it was rebound, our address.
func (l *ear) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	dest := r.Header.Get("Sec-Fetch-Dest")
	if r.Method != http.MethodGet || r.Host != l.door.Addr().String() || q.Get("login") != l.login ||
		!sixDigits.MatchString(q.Get("code")) || dest != "" && dest != "document" {
		http.NotFound(w, r)
		return
	}
	uid, known := l.whose(r)
	if known && uid != os.Getuid() {
		http.Error(w, "This login is another user's of this machine. Type the code into the terminal that printed the link.", http.StatusForbidden)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	donePage.Execute(w, known)
	select {
	case l.code <- heardCode{q.Get("code"), known}:
	default: // it has one
	}
}

// whose is the user whose program asks.
func (l *ear) whose(r *http.Request) (uid int, known bool) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return 0, false
	}
	return l.owner(from, l.door.Addr().(*net.TCPAddr).AddrPort())
}

// donePage takes the place of the page that showed the code. It does not repeat it.
var donePage = template.Must(template.New("done").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Back to the terminal · twokey</title></head>
<body><main><h1>Back to the terminal</h1><p>{{if .}}It has the code and goes on.{{else}}It asks you whether the code is yours.{{end}} You can close this page.</p></main></body></html>
`))

// noBrowser is the value of inLogin when none is to be opened.
const noBrowser = "none"

// browserFor is the program that opens a link, or noBrowser. BROWSER says it, as for
// other programs.
func browserFor(none bool) string {
	switch {
	case none:
		return noBrowser
	case os.Getenv("BROWSER") != "":
		return os.Getenv("BROWSER")
	case runtime.GOOS == "darwin":
		return "open"
	case runtime.GOOS == "windows":
		return "rundll32"
	case cmp.Or(os.Getenv("DISPLAY"), os.Getenv("WAYLAND_DISPLAY")) == "":
		return noBrowser
	}
	return "xdg-open"
}

// open opens a link. No shell reads it.
func open(browser, link string) error {
	args := []string{link}
	if browser == "rundll32" {
		args = []string{"url.dll,FileProtocolHandler", link}
	}
	return exec.Command(browser, args...).Start() // it may live for as long as the browser does
}
