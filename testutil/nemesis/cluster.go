//go:build linux

package nemesis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// allSlots is how many slots a cluster has.
const allSlots = 16384

// StartCluster starts a Redis Cluster of n masters.
func StartCluster(dir string, n int) ([]*Redis, error) {
	var nodes []*Redis
	for i := range n {
		node, err := StartRedis(filepath.Join(dir, strconv.Itoa(i)), nil, "--cluster-enabled", "yes")
		if err != nil {
			closeAll(nodes)
			return nil, err
		}
		nodes = append(nodes, node)
	}
	var errs []error
	for i, node := range nodes {
		errs = append(errs,
			node.Do("cluster", "addslotsrange", i*allSlots/n, (i+1)*allSlots/n-1),
			node.Do("cluster", "set-config-epoch", i+1))
		host, port, _ := net.SplitHostPort(node.Addr)
		errs = append(errs, nodes[0].Do("cluster", "meet", host, port))
	}
	if err := errors.Join(append(errs, agree(nodes))...); err != nil {
		closeAll(nodes)
		return nil, err
	}
	return nodes, nil
}

// agree returns when all nodes know each other and call the cluster ok.
func agree(nodes []*Redis) error {
	var errs []error
	for _, node := range nodes {
		errs = append(errs, await(context.Background(), startLimit, "the cluster", func() bool {
			info, _ := node.admin.ClusterInfo(context.Background()).Result()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(len(nodes)))
		}))
	}
	return errors.Join(errs...)
}

// joinCluster starts a node without slots in the cluster of nodes.
func joinCluster(dir string, nodes []*Redis) (*Redis, error) {
	node, err := StartRedis(dir, nil, "--cluster-enabled", "yes")
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(node.Addr)
	if err = nodes[0].Do("cluster", "meet", host, port); err == nil {
		err = agree(append(slices.Clone(nodes), node))
	}
	if err != nil {
		node.Close()
		return nil, err
	}
	return node, nil
}

// Move is a part of the slots on its way from the nodes to the spare one. While
// it is under way, clients are sent from one to the other and back.
type Move struct {
	w     *World
	spare string           // its id
	from  map[*Redis][]int // slots
}

// BeginMove opens a part of a sixteenth of the slots, one of parts, and the slot of an
// order, and moves the keys that are there. No slot is moved twice.
func (w *World) BeginMove(part, parts int, order string) (*Move, error) {
	name, err := RecordKey(w.Trial.Worker.Prefix, order)
	if err != nil {
		return nil, err
	}
	own, err := w.Spare.admin.ClusterKeySlot(w.ctx, name).Result()
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	m := &Move{w: w, from: map[*Redis][]int{}}
	if m.spare, err = w.Spare.id(); err != nil {
		return nil, err
	}
	if w.moved == nil {
		w.moved = make(map[int]bool)
	}
	for slot := range allSlots {
		if !w.moved[slot] && (slot == int(own) || slot%16 == 0 && slot/16%parts == part%parts) {
			w.moved[slot] = true
			node := w.Nodes[slot*len(w.Nodes)/allSlots]
			m.from[node] = append(m.from[node], slot)
		}
	}
	for node, slots := range m.from {
		id, err := node.id()
		if err != nil {
			return nil, err
		}
		var importing, migrating [][]any
		for _, slot := range slots {
			importing = append(importing, []any{"cluster", "setslot", slot, "importing", id})
			migrating = append(migrating, []any{"cluster", "setslot", slot, "migrating", m.spare})
		}
		if err = errors.Join(w.Spare.DoAll(importing), node.DoAll(migrating)); err != nil {
			return nil, err
		}
	}
	return m, m.keys()
}

// keys moves the keys that the nodes still have.
func (m *Move) keys() error {
	host, port, _ := net.SplitHostPort(m.w.Spare.Addr)
	for node, slots := range m.from {
		var migrate [][]any
		for _, slot := range slots {
			names, err := node.admin.ClusterGetKeysInSlot(m.w.ctx, slot, 1000).Result()
			if err != nil {
				return fmt.Errorf("nemesis: %w", err)
			}
			for _, name := range names {
				migrate = append(migrate, []any{"migrate", host, port, name, 0, 5000})
			}
		}
		if err := node.DoAll(migrate); err != nil {
			return err
		}
	}
	return nil
}

// Finish moves the other keys and gives the slots to the spare node.
func (m *Move) Finish() error {
	if err := m.keys(); err != nil {
		return err
	}
	var assign [][]any
	for _, slots := range m.from {
		for _, slot := range slots {
			assign = append(assign, []any{"cluster", "setslot", slot, "node", m.spare})
		}
	}
	// The new owner first, or the slot would be nobody's for a moment.
	for _, node := range append([]*Redis{m.w.Spare}, m.w.Nodes...) {
		if err := node.DoAll(assign); err != nil {
			return err
		}
	}
	return nil
}

// id returns the node's name in the cluster.
func (r *Redis) id() (string, error) {
	id, err := r.admin.ClusterMyID(context.Background()).Result()
	if err != nil {
		return "", fmt.Errorf("nemesis: %w", err)
	}
	return id, nil
}
