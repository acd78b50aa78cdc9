// Command idp is an OpenID provider for the demo and the dramas: real OpenID
// Connect (zitadel/oidc), in one process, with a handful of people in memory.
// Its one idea: whoever knows a name is that person, as the login page says
// itself. It keeps nothing, and must never be reachable from anywhere but the
// machine that tries twokey out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo-idp:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	listen, issuer string
	client         client
}

func parse(args []string) (options, error) {
	var o options
	var redirects string
	flags := flag.NewFlagSet("demo-idp", flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "loopback address to listen on; port 0 takes a free one")
	flags.StringVar(&o.issuer, "issuer", "", "issuer URL (default http:// and the address)")
	flags.StringVar(&o.client.id, "client-id", "twokey", "the one client")
	flags.StringVar(&o.client.secret, "client-secret", "demo", "its secret")
	flags.StringVar(&redirects, "redirect", "", "its redirect addresses, with commas between them")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if redirects == "" {
		return o, errors.New("--redirect is missing; for twokey it is the address of its pages and /login/callback")
	}
	o.client.redirects = strings.Split(redirects, ",")
	return o, nil
}

func run(args []string) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := listen(o.listen)
	if err != nil {
		return err
	}
	if o.issuer == "" {
		o.issuer = "http://" + l.Addr().String()
	}
	handler, err := newProvider(o.issuer, o.client)
	if err != nil {
		return err
	}
	return serve(l, handler, o.issuer)
}

// listen refuses everything but loopback: behind this door anybody is anybody.
func listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is no loopback address, and this provider takes everybody's word", host)
	}
	return net.Listen("tcp", address)
}

// serve answers until a signal comes. The one line it prints says that it is ready.
func serve(l net.Listener, handler http.Handler, issuer string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }() // ends with Close below
	fmt.Println(issuer)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}
