package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file is for who follows a store: day by day, which recordings lie there,
// and what each is about.

// Sealed is a recording that is whole.
type Sealed struct {
	session.Found
	Encrypted bool
}

// ErrTooMany is returned, wrapped, for a folder that somebody has filled until it can not be listed.
var ErrTooMany = store.ErrTooMany

// Days returns the days on which sessions began that are in the store, as in
// 2026/11/23, newest first. ErrTooMany comes with all days that are known in spite of it.
func (a *Archive) Days(ctx context.Context) ([]string, error) {
	var full error
	days := []string{""}
	for range 3 { // year, month, day
		var deeper []string
		for _, folder := range days {
			list, err := a.listed(ctx, "sessions/"+folder)
			if errors.Is(err, ErrTooMany) {
				full = errors.Join(full, err)
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("listing the recordings: %w", err)
			}
			for _, name := range slices.Backward(list) {
				deeper = append(deeper, strings.TrimPrefix(name, "sessions/"))
			}
		}
		days = deeper
	}
	for i := range days {
		days[i] = strings.TrimSuffix(days[i], "/")
	}
	return days, full
}

// On returns the IDs of the recordings of a day, newest first, whole or not.
func (a *Archive) On(ctx context.Context, day string) ([]string, error) {
	list, err := a.store.List(ctx, "sessions/"+day+"/")
	if err != nil {
		return nil, fmt.Errorf("listing the recordings of %s: %w", day, err)
	}
	var ids []string
	for _, o := range slices.Backward(list) {
		if o.Folder() && isPlace(o.Name) {
			ids = append(ids, o.Base())
		}
	}
	return ids, nil
}

// PrunedDays returns the days of recordings that tombstones since a time name. It is a hint
// for who follows: what is there and what is not, the store says. So nothing is proven here.
func (a *Archive) PrunedDays(ctx context.Context, since time.Time) (days []string, err error) {
	nodes, err := a.listed(ctx, "ledger/")
	if err != nil {
		return nil, fmt.Errorf("looking for tombstones: %w", err)
	}
	for _, node := range nodes {
		for day := since.UTC().Truncate(24 * time.Hour); day.Before(time.Now()); day = day.AddDate(0, 0, 1) {
			list, err := a.store.List(ctx, node+day.Format("2006/01/02/"))
			if err != nil {
				return nil, fmt.Errorf("looking for tombstones: %w", err)
			}
			for _, o := range list {
				if strings.HasSuffix(o.Name, "-"+EntryPruned+".json") {
					days = append(days, a.buriedOn(ctx, o.Name, since)...)
				}
			}
		}
	}
	slices.Sort(days)
	return slices.Compact(days), nil
}

// buriedOn returns the days that a tombstone names; none of one that can not be read or is
// older.
func (a *Archive) buriedOn(ctx context.Context, name string, since time.Time) (days []string) {
	data, _, err := a.store.Get(ctx, name, "", maxManifest)
	var e Entry
	if err != nil || json.Unmarshal(data, &e) != nil || e.Time.Before(since) {
		return nil
	}
	for _, p := range e.Pruned[:min(len(e.Pruned), mostBuried)] {
		if place, err := placeOf(p.Session); err == nil {
			days = append(days, strings.TrimPrefix(place[:len("sessions/2006/01/02")], "sessions/"))
		}
	}
	slices.Sort(days)
	return slices.Compact(days)
}

// mostBuried is how many recordings of one tombstone are looked at: more than twokey puts
// into one.
const mostBuried = 1000

// Sealed returns what is to be known of a recording by its manifest. One whose
// signature is by no trusted key has session.UnprovenFlag, where any key is
// trusted. ErrNoRecording, wrapped, is one that has no manifest yet.
func (a *Archive) Sealed(ctx context.Context, id string) (Sealed, error) {
	place, err := placeOf(id)
	if err != nil {
		return Sealed{}, fmt.Errorf("%w: %w", ErrNoRecording, err)
	}
	data, _, err := a.store.Get(ctx, place+manifestName, "", maxManifest)
	if errors.Is(err, store.ErrNotExist) {
		return Sealed{}, fmt.Errorf("recording %s: %w", id, ErrNoRecording)
	}
	if err != nil {
		return Sealed{}, fmt.Errorf("recording %s: %w", id, err)
	}
	proven, err := a.proven(ctx, place, data)
	if err == nil && !proven && len(data) > mostUnproven {
		err = fmt.Errorf("its manifest is by no key that is trusted, and has %d bytes: it is not read", len(data))
	}
	if err != nil {
		return Sealed{}, fmt.Errorf("recording %s: %w", id, err)
	}
	m, err := parseManifest(data)
	if err == nil && m.Session.ID != id {
		err = fmt.Errorf("its manifest is that of %.40q", m.Session.ID)
	}
	if err != nil {
		return Sealed{}, fmt.Errorf("recording %s: %w", id, err)
	}
	s := m.sealed()
	if !proven {
		s.Flags = append([]string{session.UnprovenFlag}, s.Flags...)
	}
	return s, nil
}

// mostUnproven is how large a manifest may be, in bytes, that is read only to list
// that it is not proven.
const mostUnproven = 1 << 20

// proven reports whether a manifest is signed by a trusted key, or no key is
// trusted at all. An error means that the store does not tell.
func (a *Archive) proven(ctx context.Context, place string, manifest []byte) (bool, error) {
	if len(a.keys) == 0 {
		return true, nil
	}
	sig, _, err := a.store.Get(ctx, place+signatureName, "", maxSignature)
	switch {
	case errors.Is(err, store.ErrNotExist), errors.Is(err, store.ErrTooLarge):
		return false, nil
	case err != nil:
		return false, err
	}
	return checkSignature(a.keys, ManifestNamespace, manifest, sig) == nil, nil
}

func (m *Manifest) sealed() Sealed {
	s := Sealed{Found: session.Found{Summary: m.Summary(), Opened: m.Session.Engineer}}
	s.Encrypted = slices.ContainsFunc(m.Segments, func(s Segment) bool { return encrypted(s.Name()) })
	known := map[[2]string]bool{}
	for _, seat := range m.Seats {
		if i := seat.Identity; i != nil && !known[[2]string{i.Issuer, i.Subject}] {
			known[[2]string{i.Issuer, i.Subject}] = true
			s.Seated = append(s.Seated, *i)
		}
	}
	return s
}

// Of says which recordings these are, and how far they are believed: those of a
// place, with the keys that are trusted.
func (a *Archive) Of(place string) string {
	var all []string
	for _, key := range a.keys {
		text := ssh.FingerprintSHA256(key)
		if k, ended := key.(endedKey); ended {
			text += " until " + k.until.UTC().Format(time.RFC3339)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(append([]string{place}, all...), "\n")
}

// Opens reports whether there is any identity to open what is encrypted.
func (a *Archive) Opens() bool { return len(a.identities) > 0 }
