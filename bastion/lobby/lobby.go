// Package lobby is the live screen for people who came without a command: who
// waits for a shadow, what is live, what they may open. It ends with what they
// chose; doing it is the bastion's part, which also decides who sees what.
//
// Its one idea: a model from messages to text (Bubble Tea's), and nothing else
// that thinks. Of Bubble Tea it takes the loop alone. Keys are read by package
// shadow, so that no answer of a terminal and no paste is one, and nothing is ever
// asked of the terminal. Frames are drawn by a painter of our own: a terminal that
// takes nothing stops the painter and not the loop, and no mistake in a
// renderer's goroutine can end the bastion with all its sessions.
//
// Colours are the terminal's own sixteen, in pairs that are read on light and on
// dark alike; nothing is said by colour alone.
package lobby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// Hall is what there is to see. Neither method waits for anything.
type Hall interface {
	// News is closed when it is worth looking again.
	News() <-chan struct{}
	// Look returns what there is now, for one person.
	Look() Board
}

// Board is what somebody may see.
type Board struct {
	Waiting []Session // for a shadow
	Live    []Session // the others
	Targets []Target  // that they may open
}

// Session is a live one. Its texts may hold anything: they are cleaned here.
type Session struct {
	ID, Code string
	Engineer string
	Wants    string // target and mode
	Reason   string
	Since    time.Time
	Needs    string // what the quorum still misses
	State    string // of the gate and the tape, and who watches
	Alarm    string // what everybody should know
	Barred   string // why this person may not sit down; empty when they may
}

// Target is a target and mode that may be opened.
type Target struct {
	Name    string // as Choice has it
	Watched string // by whom
}

// Choice is what was chosen: the ID of a session to sit down at, or the name of
// a target to open.
type Choice struct{ Sit, Open string }

// Terminal is where the lobby is shown.
type Terminal struct {
	In        io.Reader
	Out       io.Writer // may block for as long as the terminal does
	Size      session.Size
	Resize    <-chan session.Size
	Colours   bool
	Me, Says  string // who looks, and the line they read first
	HelpLines string // what else one may type
}

// newsInterval is the shortest time between two looks.
const newsInterval = 100 * time.Millisecond

// Show shows the lobby until something is chosen, the terminal fails, or ctx
// ends (its cause). ErrLeft is somebody who left. After Show, In is read until a Read returns, and dropped.
func Show(ctx context.Context, hall Hall, t Terminal) (Choice, error) {
	var others sync.WaitGroup
	defer others.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	paint := newPainter(t.Out)
	m := &guarded{model: newModel(t), paint: paint}
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(nil), tea.WithOutput(io.Discard), tea.WithEnvironment([]string{}),
		tea.WithoutSignalHandler(), tea.WithoutRenderer(), tea.WithFPS(1))
	go func() { stop(paint.run()) }() // end waits for it, as long as is decent
	others.Go(func() { stop(look(ctx, p, hall)) })
	others.Go(func() { stop(press(ctx, p, t)) }) // what is resized or typed from now on is for the next screen
	_, err := p.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch failed := paint.end(); {
	case m.err != nil:
		return Choice{}, m.err
	case err != nil:
		return Choice{}, err
	case m.model.choice == Choice{}:
		return Choice{}, ErrLeft
	default:
		return m.model.choice, failed
	}
}

// seen is a look at the hall.
type seen struct {
	board Board
	now   time.Time
}

// look sends what there is, at each change, and each second while there is
// anything that has a time. It ends with ctx.
func look(ctx context.Context, p *tea.Program, hall Hall) (err error) {
	defer caught(&err)
	for {
		news := hall.News()
		board, now := hall.Look(), time.Now()
		p.Send(seen{board.clean(), now})
		var second <-chan time.Time
		if len(board.Waiting)+len(board.Live) > 0 {
			second = time.After(now.Truncate(time.Second).Add(time.Second).Sub(now))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-second:
			continue
		case <-news:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(newsInterval):
		}
	}
}

// press sends the keys and the sizes of the terminal. It ends with ctx, or with In.
func press(ctx context.Context, p *tea.Program, t Terminal) (err error) {
	defer caught(&err)
	chunks, deaf := make(chan []byte), make(chan error, 1)
	go func() { deaf <- read(ctx, t.In, chunks) }() // ends when a Read returns
	var keys shadow.Typed
	for {
		var stuck <-chan time.Time
		if patience := keys.Patience(); patience > 0 {
			stuck = time.After(patience)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-deaf:
			return err
		case size := <-t.Resize:
			p.Send(size)
		case <-stuck:
			p.Send(key(keys.GiveUp()))
		case chunk := <-chunks:
			for _, b := range chunk {
				if k := keys.Take(b); k != "" {
					p.Send(key(k))
				}
			}
		}
	}
}

func read(ctx context.Context, in io.Reader, chunks chan<- []byte) (err error) {
	defer caught(&err)
	for {
		buf := make([]byte, 256)
		n, err := in.Read(buf)
		if n > 0 {
			select {
			case chunks <- buf[:n]:
			case <-ctx.Done():
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// caught is deferred where a peer's bytes are dealt with: a mistake of ours in
// there is the end of one lobby.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the lobby broke: %v", p)
	}
}

// errBroken is what a model ends with that panicked.
var errBroken = errors.New("the lobby broke")

// guarded is the model as Bubble Tea runs it: what it shows goes to the painter,
// and a panic in it is its end.
type guarded struct {
	model model
	paint *painter
	err   error
}

func (g *guarded) Init() tea.Cmd { return nil }

func (g *guarded) Update(msg tea.Msg) (_ tea.Model, cmd tea.Cmd) {
	defer func() {
		if p := recover(); p != nil {
			g.err, cmd = fmt.Errorf("%w: %v", errBroken, p), tea.Quit
		}
	}()
	if g.err != nil {
		return g, tea.Quit
	}
	var bell bool
	g.model, cmd, bell = g.model.update(msg)
	g.paint.show(frame{size: g.model.size, rows: g.model.draw()}, bell)
	return g, cmd
}

// View is empty: the painter has it.
func (g *guarded) View() tea.View { return tea.View{} }
