package redisbus

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
)

// PublisherOptions are the settings of a Publisher. The zero value is useful.
type PublisherOptions struct {
	// IDField and DataField are those of the consumers. Default to "id" and "data".
	IDField, DataField string
}

// Publisher adds messages to a stream as a Consumer reads them. It is safe for
// concurrent use.
type Publisher struct {
	client redis.UniversalClient
	stream string
	enc    encoding
}

// NewPublisher returns a Publisher for a stream, which the first message makes. A
// nil o stands for the defaults.
func NewPublisher(client redis.UniversalClient, stream string, o *PublisherOptions) (*Publisher, error) {
	enc := encoding{defaultIDField, defaultDataField}
	if o != nil && o.IDField != "" {
		enc.id = o.IDField
	}
	if o != nil && o.DataField != "" {
		enc.data = o.DataField
	}
	switch {
	case client == nil:
		return nil, errors.New("redisbus: client is nil")
	case stream == "":
		return nil, errors.New("redisbus: the name of the stream is empty")
	case enc.id == enc.data:
		return nil, fmt.Errorf("redisbus: PublisherOptions.IDField and DataField are both %q", enc.id)
	}
	return &Publisher{client, stream, enc}, nil
}

// Publish adds the ID, Header and Data of messages to the stream, in their order
// and in one trip. After an error some of them may have been added, and the client
// itself sends again what was not answered: a message may be in the stream twice,
// which its ID tells.
func (p *Publisher) Publish(ctx context.Context, messages ...bus.Message) error {
	pipe := p.client.Pipeline()
	for i := range messages {
		fields, err := p.enc.fields(&messages[i])
		if err != nil {
			return err
		}
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: p.stream, Values: fields})
	}
	if len(messages) == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("redisbus: publish: %w", plain(err))
	}
	return nil
}
