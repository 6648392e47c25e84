package kafkabus

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
)

const (
	// shortSession is what a pause of a busy process may last.
	shortSession = 6 * time.Second
	// shortRetention is how long a group may well stand still.
	shortRetention = 24 * time.Hour
	// checkTimeout bounds the check that Consume makes.
	checkTimeout = 30 * time.Second
)

// Check asks the brokers, and looks at the client, for settings that lose or repeat
// records, and returns them, worst first. Consume does so too when it is called first,
// while it consumes, and tells Options.Logger. What the user may not read is a
// finding; the error says that no broker answered. Of topics that are chosen by a regular
// expression those are looked at that are consumed by then.
func (c *Consumer) Check(ctx context.Context) ([]bus.Finding, error) {
	all := c.clientFindings()
	admin := kadm.NewClient(c.client)
	topics := c.client.GetConsumeTopics()
	if len(topics) == 0 {
		return all, nil
	}
	details, err := admin.ListTopics(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("kafkabus: the topics could not be asked for: %w", err)
	}
	configs, err := admin.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("kafkabus: the settings of the topics could not be asked for: %w", err)
	}
	for _, topic := range configs {
		all = append(all, topicFindings(topic, replicas(details[topic.Name]))...)
	}
	slices.SortStableFunc(all, func(a, b bus.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return all, nil
}

// report tells the logger what Check finds.
func (c *Consumer) report(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	findings, err := c.Check(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.opts.Logger.Warn("kafkabus: the settings were not checked", "error", err)
		}
		return
	}
	group, _ := c.client.OptValue(kgo.ConsumerGroup).(string)
	// Nothing that it finds is refused.
	_ = bus.Report(ctx, c.opts.Logger, findings, nil, "group", group)
}

// clientFindings looks at what the client was made with.
func (c *Consumer) clientFindings() (f []bus.Finding) {
	const end = -1
	if reset, ok := c.client.OptValue(kgo.ConsumeResetOffset).(kgo.Offset); ok && reset.EpochOffset().Offset == end {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "ConsumeResetOffset", Value: "the end",
			Consequence: "records from before the group's first commit are skipped, and when its offsets have expired all that came meanwhile",
			Remedy:      "kgo.NewOffset().AtStart(): a deduplicator recognises what comes again",
		})
	}
	if session, ok := c.client.OptValue(kgo.SessionTimeout).(time.Duration); ok && session < shortSession {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "SessionTimeout", Value: session.String(),
			Consequence: "a pause of that length takes the partitions away, and their records are delivered again while they are worked on",
			Remedy:      "45 seconds are usual",
		})
	}
	return f
}

// replicas returns how many the partition has that has the fewest, or 0.
func replicas(topic kadm.TopicDetail) (fewest int) {
	for i, p := range topic.Partitions.Sorted() {
		if n := len(p.Replicas); i == 0 || n < fewest {
			fewest = n
		}
	}
	return fewest
}

// topicFindings looks at a topic's settings.
func topicFindings(topic kadm.ResourceConfig, replicas int) (f []bus.Finding) {
	found := func(s bus.Severity, setting, value, consequence, remedy string) {
		f = append(f, bus.Finding{Severity: s, Setting: setting + " of topic " + topic.Name, Value: value, Consequence: consequence, Remedy: remedy})
	}
	if topic.Err != nil {
		found(bus.Note, "settings", "unknown", fmt.Sprintf("they could not be read (%v) and were not checked", topic.Err), "allow the user DescribeConfigs")
		return f
	}
	values := make(map[string]string, len(topic.Configs))
	for _, c := range topic.Configs {
		if c.Value != nil {
			values[c.Key] = *c.Value
		}
	}
	if policy := values["cleanup.policy"]; strings.Contains(policy, "compact") {
		found(bus.Warn, "cleanup.policy", policy, "of records with one key all but the newest are removed, handled or not",
			"delete, if each record counts")
	}
	if millis, err := strconv.ParseInt(values["retention.ms"], 10, 64); err == nil && millis >= 0 && millis < shortRetention.Milliseconds() {
		found(bus.Warn, "retention.ms", values["retention.ms"], "what was not handled by then is removed unread", "longer than consumers may ever stand still")
	}
	if bytes, err := strconv.ParseInt(values["retention.bytes"], 10, 64); err == nil && bytes >= 0 {
		found(bus.Note, "retention.bytes", values["retention.bytes"], "what was not handled when a partition has grown to that is removed unread", "-1, or room for as long as consumers may stand still")
	}
	if unclean := values["unclean.leader.election.enable"]; unclean == "true" {
		found(bus.Warn, "unclean.leader.election.enable", unclean, "a broker that lacks records may lead: they are lost, and their offsets given to others", "false")
	}
	switch least := values["min.insync.replicas"]; {
	case replicas == 1:
		found(bus.Note, "replicas", "1", "the records are lost with one disk", "3")
	case replicas > 1 && least == "1":
		found(bus.Note, "min.insync.replicas", least, "a record that only one broker has may be acknowledged, and lost with it", "2 with 3 replicas")
	}
	return f
}
