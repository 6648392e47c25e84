//go:build linux

package nemesis

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Slot is the place of a worker: the process in it is replaced when it ends.
type Slot struct {
	N         int
	StoreLink *Link // nil unless Trial.Links
	BusLink   *Link

	config Worker
	proc   *Process // guarded by World.mu
}

func (w *World) addSlot(n int) (err error) {
	s := &Slot{N: n, config: w.Trial.Worker}
	w.Slots = append(w.Slots, s)
	c := &s.config
	c.Dir, c.Stream, c.Durable, c.Dead = w.Dir, streamName, consumerName, deadName
	c.Backend, c.Stores = w.Trial.Backend, []string{w.backendAddr()}
	if c.Kafka = w.Kafka != nil; c.Kafka {
		c.Bus = w.Kafka.Addr
	} else {
		c.Bus = w.Bus.Addr
	}
	if w.Nodes != nil {
		c.Stores = nil
		for _, node := range w.Nodes {
			c.Stores = append(c.Stores, node.Addr)
		}
	}
	for _, sentinel := range w.Sentinels {
		c.Sentinels = append(c.Sentinels, sentinel.Addr)
	}
	if w.Trial.Links {
		if s.StoreLink, err = NewLink(w.backendAddr()); err != nil {
			return err
		}
		if s.BusLink, err = NewLink(w.Bus.Addr); err != nil {
			return err
		}
		s.StoreLink.Delay(w.Trial.LinkDelay, w.Trial.LinkDelay)
		c.Bus, c.Stores = s.BusLink.Addr(), []string{s.StoreLink.Addr()}
	}
	if w.Trial.Each != nil {
		w.Trial.Each(n, c)
	}
	return nil
}

// slotOf returns the slot in which pid runs, or nil.
func (w *World) slotOf(pid int) *Slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.Slots {
		if s.proc != nil && s.proc.Pid() == pid {
			return s
		}
	}
	return nil
}

// SlotOf returns the slot of the worker that was hit, or nil when it has ended.
func (w *World) SlotOf(h Hit) *Slot { return w.slotOf(h.Pid) }

// occupy keeps a worker in the slot until stop is closed, and then ends it.
func (w *World) occupy(s *Slot, stop <-chan struct{}) error {
	for {
		proc, err := w.startWorker(s)
		if err != nil {
			return err
		}
		select {
		case <-proc.gone:
			at := time.Now().UnixNano()
			w.mu.Lock()
			w.exits = append(w.exits, exit{proc.Pid(), at, proc.killed()})
			w.mu.Unlock()
			if !proc.killed() && !proc.cmd.ProcessState.Success() {
				return w.lastWords(s)
			}
			select {
			case <-stop:
				return nil
			default:
			}
		case <-stop:
			return w.retire(proc, s)
		}
	}
}

func (w *World) startWorker(s *Slot) (*Process, error) {
	config, err := json.Marshal(s.config)
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	cmd, err := reexec("worker", string(config), w.log(s))
	if err != nil {
		return nil, err
	}
	defer closeLog(cmd)
	proc, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	s.proc = proc
	w.mu.Unlock()
	return proc, nil
}

func (w *World) log(s *Slot) string { return filepath.Join(w.Dir, fmt.Sprintf("worker-%d.log", s.N)) }

// retire asks a worker to end, and makes it.
func (w *World) retire(proc *Process, s *Slot) error {
	proc.Signal(termSignal)
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-proc.gone:
		// One that has just been started does not listen yet, and ends by the signal.
		if !proc.killed() && !proc.endedBy(termSignal) && !proc.cmd.ProcessState.Success() {
			return w.lastWords(s)
		}
		return nil
	case <-timer.C:
		proc.Kill()
		return fmt.Errorf("nemesis: worker %d did not end within 20s of SIGTERM", s.N)
	}
}

// lastWords returns what a worker wrote before it ended.
func (w *World) lastWords(s *Slot) error {
	text, _ := os.ReadFile(w.log(s))
	const most = 600
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return fmt.Errorf("nemesis: worker %d failed: %s", s.N, text)
}
