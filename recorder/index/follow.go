package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/session"
)

// This file follows the store: what is new there is read, what is gone is
// forgotten. Manifests come first, for the list of sessions; what is in the
// recordings comes after them, newest first.

const (
	pause   = 5 * time.Second // between two looks at the last days
	recent  = 2               // days before the last look that are looked at again: what had no manifest then may have one
	oldest  = 14              // days, at most; a sweep sees the others
	portion = 50              // recordings whose contents are read in one turn
	readers = 2               // of contents, at once, where somebody waits: each may hold a segment of up to 144 MiB
	longest = time.Minute     // that Run rests
	atOnce  = 8               // listings
)

// Freshen brings the index up to date, as far as its Patience goes: with the
// manifests, and with the contents when they are wanted. An error says that the
// store does not tell, and the index is as it was.
func (x *Index) Freshen(ctx context.Context, contents bool) error {
	if x.o.Patience <= 0 {
		return x.again(func() error { return x.everything(ctx, contents) })
	}
	patient, cancel := context.WithTimeout(ctx, x.o.Patience)
	defer cancel()
	err := x.again(func() error {
		return x.inTurn(patient, func() error { return x.follow(patient, false, contents, nil) })
	})
	if ctx.Err() == nil && patient.Err() != nil {
		return nil // Run goes on with it
	}
	return err
}

// again does it once more when the index turns out to be damaged.
func (x *Index) again(do func() error) error {
	err := do()
	if errors.Is(err, errDamaged) {
		err = do()
	}
	return err
}

// everything does all that is to be done.
func (x *Index) everything(ctx context.Context, contents bool) error {
	return x.inTurn(ctx, func() error {
		full := x.follow(ctx, true, false, x.o.Progress)
		if full != nil && !errors.Is(full, recorder.ErrTooMany) || !contents {
			return full
		}
		left, err := x.unread(ctx, -1)
		if err == nil {
			err = x.readContents(ctx, left, x.o.Progress)
		}
		return errors.Join(full, err)
	})
}

// Run follows the store until ctx ends. While there is much to read it rests half of
// the time: sessions run on the same machine.
func (x *Index) Run(ctx context.Context, log *slog.Logger) {
	var last string
	for ctx.Err() == nil {
		began := time.Now()
		more, err := x.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && last != "":
			log.Info("the index of recordings follows the store again")
			last = ""
		case err != nil && err.Error() != last:
			last = err.Error()
			log.Error("the index of recordings does not follow the store", "error", err)
		case time.Since(began) > time.Minute:
			log.Info("the index of recordings is being built", "unread", more)
		}
		rest := min(time.Since(began), longest)
		if more == 0 || err != nil {
			rest = max(rest, pause)
		}
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
	}
}

// round is one turn of Run. It returns how many recordings are still to be read.
func (x *Index) round(ctx context.Context) (more int, err error) {
	err = x.again(func() error {
		return x.inTurn(ctx, func() error { return x.follow(ctx, true, true, nil) })
	})
	if err != nil {
		return 0, err
	}
	in, err := x.Indexed(ctx)
	return in.Unread, err
}

// inTurn lets one at a time follow.
func (x *Index) inTurn(ctx context.Context, do func() error) error {
	select {
	case x.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-x.turn }()
	return do()
}

// follow looks at the last days, or at all of them when that is due and sweep
// allows it, and reads a portion of the contents that are wanted. A folder that
// somebody filled stops nothing else: its ErrTooMany is returned when all is done.
func (x *Index) follow(ctx context.Context, sweep, contents bool, progress func(done, total int)) error {
	now := time.Now()
	var last, all time.Time
	err := x.use(func(db *sql.DB) (err error) {
		if last, err = moment(ctx, db, followed); err == nil {
			all, err = moment(ctx, db, swept)
		}
		return err
	})
	if err != nil {
		return err
	}
	sweep = sweep && (now.Sub(all) >= x.o.SweepEvery || all.After(now))
	days, full := x.days(ctx, sweep, last, now)
	if full != nil && !errors.Is(full, recorder.ErrTooMany) {
		return full
	}
	fresh, err := x.compare(ctx, days)
	if err != nil && !errors.Is(err, recorder.ErrTooMany) {
		return err
	}
	full = errors.Join(full, err)
	if err := x.readManifests(ctx, fresh, progress); err != nil {
		return err
	}
	if err := x.looked(ctx, sweep, now); err != nil || !contents {
		return errors.Join(full, err)
	}
	left, err := x.unread(ctx, portion)
	if err == nil {
		err = x.readContents(ctx, left, nil)
	}
	return errors.Join(full, err)
}

// days are those to look at now, newest first as far as that is known. An ErrTooMany comes with
// those that are known in spite of it.
func (x *Index) days(ctx context.Context, sweep bool, last, now time.Time) ([]string, error) {
	days := lastDays(last, now)
	if !sweep {
		removed, err := x.removed(ctx, days, last, now)
		return append(days, removed...), err
	}
	all, err := x.archive().Days(ctx)
	if err == nil {
		return all, x.forgetDays(ctx, all)
	}
	return append(days, slices.DeleteFunc(all, func(day string) bool { return slices.Contains(days, day) })...), err
}

// looked notes when the last days, and after a sweep all days, were looked at.
func (x *Index) looked(ctx context.Context, sweep bool, now time.Time) error {
	return x.use(func(db *sql.DB) error {
		if sweep {
			if _, err := db.ExecContext(ctx, "UPDATE sessions SET contents = ? WHERE contents = ?", unread, broken); err != nil {
				return err // perhaps it was the store
			}
			if err := setMoment(ctx, db, swept, now); err != nil {
				return err
			}
		}
		return setMoment(ctx, db, followed, now)
	})
}

// removing is how long after its tombstone a recording may still be about to be removed.
const removing = time.Hour

// removed returns the days, other than those known, from which recordings may be gone:
// those of which there is a new tombstone.
func (x *Index) removed(ctx context.Context, known []string, last, now time.Time) ([]string, error) {
	if now.Sub(x.tombs) < x.o.TombsEvery {
		return nil, nil
	}
	if first := now.AddDate(0, 0, -oldest); last.Before(first) {
		last = first
	}
	days, err := x.archive().PrunedDays(ctx, last.Add(-removing))
	if err != nil && !errors.Is(err, recorder.ErrTooMany) {
		return nil, err
	}
	x.tombs = now
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(days, func(day string) bool { return slices.Contains(known, day) }), nil
}

func (x *Index) archive() *recorder.Archive { return x.o.Archive }

// lastDays are the days on which something may have happened since the last look,
// newest first. Clocks differ: tomorrow is one of them.
func lastDays(last, now time.Time) (days []string) {
	first := now.UTC().AddDate(0, 0, -oldest)
	if since := last.UTC().AddDate(0, 0, -recent); since.After(first) {
		first = since
	}
	for day := now.UTC().AddDate(0, 0, 1); !day.Before(first.Truncate(24 * time.Hour)); day = day.AddDate(0, 0, -1) {
		days = append(days, day.Format("2006/01/02"))
	}
	return days
}

// compare forgets what is no longer there on these days, and returns what is not
// yet in the index, newest first. ErrTooMany says of which days that can not be known, and
// comes with what is fresh on the others.
func (x *Index) compare(ctx context.Context, days []string) (fresh []string, err error) {
	lists, full := x.list(ctx, days)
	if full != nil && !errors.Is(full, recorder.ErrTooMany) {
		return nil, full
	}
	err = x.use(func(db *sql.DB) error {
		fresh = nil
		for i, day := range days {
			if lists[i] == nil {
				continue // it can not be listed
			}
			known, err := column(ctx, db, "SELECT id FROM sessions WHERE day = ? UNION SELECT id FROM troubles WHERE day = ?", day, day)
			if err != nil {
				return err
			}
			gone := make(map[string]bool, len(known))
			for _, id := range known {
				gone[id] = true
			}
			for _, id := range lists[i] {
				if !gone[id] {
					fresh = append(fresh, id)
				}
				delete(gone, id)
			}
			if err := forget(ctx, db, gone); err != nil {
				return err
			}
		}
		// What could not be read is tried again.
		tried, err := column(ctx, db, "SELECT id FROM troubles ORDER BY id DESC")
		fresh = append(fresh, tried...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return fresh, full
}

// list lists days, several at once. One that somebody filled is nil, and an ErrTooMany, unless there
// is another error.
func (x *Index) list(ctx context.Context, days []string) ([][]string, error) {
	lists, errs := make([][]string, len(days)), make([]error, len(days))
	var workers sync.WaitGroup
	next := make(chan int)
	for range min(atOnce, len(days)) {
		workers.Go(func() {
			for i := range next {
				if lists[i], errs[i] = x.archive().On(ctx, days[i]); errs[i] == nil {
					lists[i], errs[i] = append([]string{}, lists[i]...), ctx.Err()
				}
			}
		})
	}
	for i := range days {
		next <- i
	}
	close(next)
	workers.Wait()
	other := func(err error) bool { return err != nil && !errors.Is(err, recorder.ErrTooMany) }
	if i := slices.IndexFunc(errs, other); i >= 0 {
		return nil, errs[i]
	}
	return lists, errors.Join(errs...)
}

// forgetDays forgets the days that are not in the store any more.
func (x *Index) forgetDays(ctx context.Context, there []string) error {
	return x.use(func(db *sql.DB) error {
		days, err := column(ctx, db, "SELECT DISTINCT day FROM sessions UNION SELECT DISTINCT day FROM troubles")
		if err != nil {
			return err
		}
		for _, day := range days {
			if slices.Contains(there, day) {
				continue
			}
			ids, err := column(ctx, db, "SELECT id FROM sessions WHERE day = ? UNION SELECT id FROM troubles WHERE day = ?", day, day)
			if err != nil {
				return err
			}
			gone := map[string]bool{}
			for _, id := range ids {
				gone[id] = true
			}
			if err := forget(ctx, db, gone); err != nil {
				return err
			}
		}
		return nil
	})
}

// column returns the texts that a query finds.
func column(ctx context.Context, db *sql.DB, query string, args ...any) (list []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}

// forget takes sessions out of the index.
func forget(ctx context.Context, db *sql.DB, gone map[string]bool) error {
	if len(gone) == 0 {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for id := range gone {
		for _, what := range []string{"about WHERE num", "people WHERE num", "texts WHERE num", "words WHERE rowid", "pairs WHERE rowid"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+what+" = (SELECT num FROM sessions WHERE id = ?)", id); err != nil {
				return err
			}
		}
		for _, what := range []string{"sessions", "troubles"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+what+" WHERE id = ?", id); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}

// change is what is to be written about a recording.
type change struct {
	weight int // bytes, more or less
	failed bool
	write  func(ctx context.Context, tx *sql.Tx) error
}

// readManifests puts recordings into the index. Those without a manifest still run,
// or their end is on its way.
func (x *Index) readManifests(ctx context.Context, ids []string, progress func(done, total int)) error {
	return x.each(ctx, ids, x.o.Workers, progress, func(ctx context.Context, id string) change {
		s, err := x.archive().Sealed(ctx, id)
		switch {
		case errors.Is(err, session.ErrNoRecording):
			return change{}
		case err != nil:
			return change{failed: true, write: func(ctx context.Context, tx *sql.Tx) error { return trouble(ctx, tx, id, err) }}
		}
		return change{weight: 2 << 10, write: func(ctx context.Context, tx *sql.Tx) error { return x.insert(ctx, tx, s) }}
	})
}

// trouble keeps why a recording is not in the index.
func trouble(ctx context.Context, tx *sql.Tx, id string, why error) error {
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO troubles VALUES(?, ?, ?)", id, dayOf(id), clip(why.Error(), 1000))
	return err
}

// unread returns the recordings whose contents are to be read, newest first; at most
// so many, or all when it is negative.
func (x *Index) unread(ctx context.Context, most int) (ids []string, err error) {
	err = x.use(func(db *sql.DB) error {
		ids, err = column(ctx, db, "SELECT id FROM sessions WHERE contents = ? ORDER BY num DESC LIMIT ?", unread, most)
		return err
	})
	return ids, err
}

// readContents reads what is in recordings.
func (x *Index) readContents(ctx context.Context, ids []string, progress func(done, total int)) error {
	workers := readers
	if x.o.Patience > 0 {
		workers = 1
	}
	return x.each(ctx, ids, workers, progress, func(ctx context.Context, id string) change {
		c, err := read(x.archive().Events(ctx, id))
		state := indexed
		switch {
		case errors.Is(err, recorder.ErrEncrypted):
			state = encrypted
		case err != nil:
			state = broken
		}
		said, shown := c.folded()
		return change{weight: 2 * (c.said + c.shown), failed: state == broken, write: func(ctx context.Context, tx *sql.Tx) error {
			return fill(ctx, tx, id, c, state, said, shown)
		}}
	})
}

// Bounds of a batch that is written as one.
const (
	batchChanges = 256
	batchBytes   = 16 << 20
)

// suspicious is after how many failures in a row the store is asked whether it is
// there at all.
const suspicious = 50

// each has recordings read by several at once, and writes what they found one
// after another. One that can not be read never stands before the others.
func (x *Index) each(ctx context.Context, ids []string, workers int, progress func(done, total int), read func(ctx context.Context, id string) change) error {
	if len(ids) == 0 {
		return nil
	}
	if err := x.room(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	found, ended := several(ctx, ids, workers, read)
	defer ended()
	defer cancel()
	var batch []change
	weight, failures := 0, 0
	for done := 1; done <= len(ids); done++ {
		var c change
		select {
		case c = <-found:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := ctx.Err(); err != nil {
			return err // what was read meanwhile failed because of that
		}
		if failures++; !c.failed {
			failures = 0
		}
		if failures%suspicious == suspicious-1 {
			if _, err := x.archive().On(ctx, dayOf(ids[0])); err != nil {
				return err
			}
		}
		if c.write != nil {
			batch = append(batch, c)
			weight += c.weight
		}
		if len(batch) >= batchChanges || weight >= batchBytes || done == len(ids) {
			if err := x.use(func(db *sql.DB) error { return apply(ctx, db, batch) }); err != nil {
				return err
			}
			batch, weight = batch[:0], 0
		}
		if progress != nil {
			progress(done, len(ids))
		}
	}
	return nil
}

// several has so many read recordings at once, until ctx ends. What they found comes in
// any order; ended waits for them.
func several(ctx context.Context, ids []string, workers int, read func(ctx context.Context, id string) change) (found <-chan change, ended func()) {
	next, results := make(chan string), make(chan change)
	var busy sync.WaitGroup
	for range min(workers, len(ids)) {
		busy.Go(func() {
			for id := range next {
				select {
				case results <- read(ctx, id):
				case <-ctx.Done():
				}
			}
		})
	}
	busy.Go(func() {
		defer close(next)
		for _, id := range ids {
			select {
			case next <- id:
			case <-ctx.Done():
				return
			}
		}
	})
	return results, busy.Wait
}

// apply writes changes, all of them or none.
func apply(ctx context.Context, db *sql.DB, batch []change) error {
	if len(batch) == 0 {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, c := range batch {
		if err := c.write(ctx, tx); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// dayOf is the day under which a recording lies in the store.
func dayOf(id string) string {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return ""
	}
	return ulid.Time(u.Time()).UTC().Format("2006/01/02")
}

// firstNum is the first number that a session with this ID may have.
func firstNum(id string) int64 {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return 0
	}
	return int64(u.Time()<<15 | uint64(u[6])<<7 | uint64(u[7])>>1)
}

// mostAlike is how many sessions may have begun in one millisecond with IDs that are alike.
const mostAlike = 1000

// about is a session as it lies in the index.
type about struct {
	session.Summary
	Opened session.Identity   `json:"opened"`
	Seated []session.Identity `json:"seated,omitempty"`
}

// insert puts a session into the index, unless another process has.
func (x *Index) insert(ctx context.Context, tx *sql.Tx, s recorder.Sealed) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM troubles WHERE id = ?", s.ID); err != nil {
		return err
	}
	var there int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sessions WHERE id = ?", s.ID).Scan(&there); err != nil || there > 0 {
		return err
	}
	num, err := freeNum(ctx, tx, s.ID)
	if err != nil {
		return err
	}
	if num < 0 {
		return trouble(ctx, tx, s.ID, fmt.Errorf("recording %s: too many recordings have IDs like this", s.ID))
	}
	s = bounded(s)
	found, err := json.Marshal(about{s.Summary, s.Opened, s.Seated})
	if err != nil {
		return trouble(ctx, tx, s.ID, fmt.Errorf("recording %s: %w", s.ID, err))
	}
	state := unread
	if s.Encrypted && !x.archive().Opens() {
		state = encrypted
	}
	cause := ""
	if s.Cause != nil {
		cause = string(s.Cause.Code)
	}
	if _, err = tx.ExecContext(ctx, "INSERT INTO sessions(num, id, day, code, target, mode, cause, flags, started, contents) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		num, s.ID, dayOf(s.ID), s.Code, s.Target, s.Mode, cause, flags(s.Flags), s.Started.UnixMicro(), state); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO about VALUES(?, ?)", num, string(found)); err != nil {
		return err
	}
	return people(ctx, tx, num, s)
}

// flags is a list that instr finds whole words in.
func flags(list []string) string { return "\n" + strings.Join(list, "\n") + "\n" }

// freeNum returns a number that is free; a negative one when there is none.
func freeNum(ctx context.Context, tx *sql.Tx, id string) (int64, error) {
	first := firstNum(id)
	for num := first; num < first+mostAlike; num++ {
		var taken int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sessions WHERE num = ?", num).Scan(&taken); err != nil {
			return 0, err
		}
		if taken == 0 {
			return num, nil
		}
	}
	return -1, nil
}

// Bounds of what is kept of a manifest, which whoever can write to the store makes as
// long as they like.
const (
	longestWord = 1000 // bytes
	mostWords   = 100
)

// bounded is a session within bounds, its people as far as it says who they are.
func bounded(s recorder.Sealed) recorder.Sealed {
	for _, word := range []*string{&s.Code, &s.Engineer, &s.Target, &s.Mode, &s.Reason} {
		*word = clip(*word, longestWord)
	}
	if s.Cause != nil {
		s.Cause = &session.Cause{Code: session.Code(clip(string(s.Cause.Code), longestWord)), By: clip(s.Cause.By, longestWord), Text: clip(s.Cause.Text, longestWord)}
	}
	s.Shadows, s.Flags = words(s.Shadows), words(s.Flags)
	s.Opened = bare(s.Opened)
	var seated []session.Identity
	for _, i := range s.Seated[:min(len(s.Seated), mostWords)] {
		seated = append(seated, bare(i))
	}
	s.Seated = seated
	return s
}

func words(list []string) (kept []string) {
	for _, word := range list[:min(len(list), mostWords)] {
		kept = append(kept, clip(word, longestWord))
	}
	return kept
}

// bare leaves out credentials. Whoever has no name within bounds is nobody.
func bare(i session.Identity) session.Identity {
	if len(i.Issuer) > longestWord || len(i.Subject) > longestWord || len(i.SamePerson) > longestWord {
		return session.Identity{}
	}
	b := session.Identity{
		Issuer: i.Issuer, Subject: i.Subject, SamePerson: i.SamePerson, Name: clip(i.Name, longestWord), Groups: words(i.Groups),
	}
	for name, claim := range i.Claims {
		if len(b.Claims) == mostWords {
			break
		}
		if b.Claims == nil {
			b.Claims = map[string]string{}
		}
		b.Claims[clip(name, longestWord)] = clip(claim, longestWord)
	}
	return b
}

// Parts that people had in a session.
const (
	engineer = 0
	shadow   = 1
)

func people(ctx context.Context, tx *sql.Tx, num int64, s recorder.Sealed) error {
	add := func(part int, name string, i session.Identity) error {
		name = strings.ToLower(name)
		local, _, _ := strings.Cut(name, "@")
		_, err := tx.ExecContext(ctx, "INSERT INTO people VALUES(?, ?, ?, ?, ?, ?, ?)", num, part, name, local, i.Issuer, i.Subject, i.SamePerson)
		return err
	}
	if err := add(engineer, s.Engineer, s.Opened); err != nil {
		return err
	}
	for _, name := range s.Shadows {
		if err := add(shadow, name, session.Identity{}); err != nil {
			return err
		}
	}
	for _, i := range s.Seated {
		if err := add(shadow, i.Name, i); err != nil {
			return err
		}
	}
	return nil
}

// fill puts the contents of a session into the index, in the place of what there was.
func fill(ctx context.Context, tx *sql.Tx, id string, c contents, state int, said, shown string) error {
	var num int64
	err := tx.QueryRowContext(ctx, "SELECT num FROM sessions WHERE id = ?", id).Scan(&num)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // gone meanwhile
	}
	if err != nil {
		return err
	}
	for _, do := range []struct {
		sql  string
		args []any
	}{
		{"DELETE FROM texts WHERE num = ?", []any{num}},
		{"DELETE FROM words WHERE rowid = ?", []any{num}},
		{"DELETE FROM pairs WHERE rowid = ?", []any{num}},
		{"INSERT INTO words(rowid, said, shown) VALUES(?, ?, ?)", []any{num, said, shown}},
		{"INSERT INTO pairs(rowid, said, shown) VALUES(?, ?, ?)", []any{num, pairs(said), pairs(shown)}},
		{"UPDATE sessions SET contents = ?, cut = ? WHERE num = ?", []any{state, c.cut, num}},
	} {
		if _, err := tx.ExecContext(ctx, do.sql, do.args...); err != nil {
			return err
		}
	}
	put, err := tx.PrepareContext(ctx, "INSERT INTO texts VALUES(?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer put.Close()
	for i, t := range c.texts {
		if _, err := put.ExecContext(ctx, num, i+1, t.screen, int64(t.at), t.n, t.text); err != nil {
			return err
		}
	}
	return nil
}
