package bastion

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// This file holds the commands about the person who types them: who they are,
// what they may open, and their certificate.

func (v *visit) loginCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "login",
		Short: "a certificate for the key you connected with: login > ~/.ssh/id_ed25519-cert.pub",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return v.login(c.OutOrStdout()) },
	}
}

// login prints a certificate, and nothing else, on standard output. It takes a
// key proven on this very connection and a login made for it: from a
// certificate alone no other certificate comes, nor from a login of hours ago:
// a connection may stay open for long, and much may have changed since.
func (v *visit) login(w io.Writer) error {
	switch {
	case v.signedIn.IsZero():
		return refusal("you came in with a certificate, and a new one takes a new login: ssh -o 'PubkeyAcceptedAlgorithms=-*cert*' %s",
			strings.TrimPrefix(v.server.command("login"), "ssh "))
	case time.Since(v.signedIn) > v.server.Limits.Login:
		return refusal("you signed in more than %s ago; connect again for a certificate", v.server.Limits.Login)
	case v.key == nil:
		return refusal("your client showed no key that twokey takes; make one with: ssh-keygen -t ed25519")
	}
	cert, err := v.server.Authority.Issue(v.who, v.key)
	if err != nil {
		return fmt.Errorf("no certificate could be made: %w", err)
	}
	if err := v.enlist(cert); err != nil {
		return err
	}
	v.log.Info("certificate issued", "serial", cert.Serial, "key_id", cert.KeyId, "key", fingerprint(v.key),
		"until", time.Unix(int64(cert.ValidBefore), 0).UTC())
	_, err = w.Write(ssh.MarshalAuthorizedKey(cert))
	return err
}

// enlist puts a certificate on the list of those that were issued, which the ledger
// is. One that is not on it is not given out.
func (v *visit) enlist(cert *ssh.Certificate) error {
	if v.server.Ledger == nil {
		v.server.Meter.Did(session.DeedCertificate)
		return nil
	}
	until := time.Unix(int64(cert.ValidBefore), 0).UTC().Format(time.RFC3339)
	err := v.server.Ledger.Note(session.Deed{What: session.DeedCertificate, Who: &v.who, From: v.conn.from, Serial: cert.Serial,
		Text: fmt.Sprintf("%d for %s, until %s", cert.Serial, fingerprint(v.key), until)})
	if err != nil {
		v.log.Error("a certificate could not be listed, and was not given out", "error", err)
		return errors.New("the ledger does not take what is issued; there is no certificate until it does")
	}
	v.server.Meter.Did(session.DeedCertificate)
	return nil
}

func (v *visit) whoamiCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "whoami",
		Short: "who twokey thinks you are, and until when",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return v.whoami(c.OutOrStdout(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func (v *visit) whoami(w io.Writer, asJSON bool) error {
	if asJSON {
		return jsonLine(w, v.who)
	}
	var t table
	t.add("name", v.who.Name)
	t.add("subject", session.OneLine(v.who.Subject, 200)+" at "+session.OneLine(v.who.Issuer, 200))
	t.add("groups", session.OneLine(strings.Join(v.who.Groups, ", "), 2000))
	for name, value := range v.who.Claims {
		t.add(session.OneLine(name, 40), session.OneLine(value, 200))
	}
	cred := v.who.Credential
	if cred.Key != "" {
		t.add("key", cred.Key)
	}
	if !v.signedIn.IsZero() {
		t.add("came in by", "a login on this connection")
	} else {
		t.add("came in by", fmt.Sprintf("certificate %d", cred.Serial))
	}
	if !cred.Expires.IsZero() {
		t.add("until", cred.Expires.UTC().Format(time.RFC3339))
	}
	t.add("from", cred.From)
	t.print(w)
	return nil
}

// offer is a mode that a person may open.
type offer struct {
	Target  string   `json:"target"`
	Mode    string   `json:"mode"`
	Needs   []string `json:"needs,omitempty"`
	Reason  bool     `json:"reason,omitempty"`
	Command string   `json:"command"`
	user    string   // the SSH user name that asks for it
}

func (o offer) watched() string {
	if len(o.Needs) == 0 {
		return "nobody has to watch"
	}
	return "watched by " + strings.Join(o.Needs, ", and ")
}

func (v *visit) offers() []offer {
	var list []offer
	for _, t := range v.server.Targets {
		for _, m := range t.Modes {
			if mayOpen(v.who, t, m) != nil {
				continue
			}
			o := offer{Target: t.Name, Mode: m.Name, Reason: m.Reason, user: userFor(t, m), Command: v.server.commandAs(userFor(t, m))}
			for _, n := range m.Shadows {
				o.Needs = append(o.Needs, n.String())
			}
			list = append(list, o)
		}
	}
	return list
}

func (v *visit) targetsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "targets",
		Short: "what you may open",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				return jsonLines(c.OutOrStdout(), v.offers())
			}
			var t table
			for _, o := range v.offers() {
				t.add(o.Target, o.Mode, o.watched(), o.Command)
			}
			t.print(c.OutOrStdout())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func jsonLines[T any](w io.Writer, list []T) error {
	for _, x := range list {
		if err := jsonLine(w, x); err != nil {
			return err
		}
	}
	return nil
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse("%s takes no arguments, not %q", c.Name(), session.OneLine(args[0], 40))
	}
	return nil
}
