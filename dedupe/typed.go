package dedupe

import (
	"context"
	"encoding/json"
	"fmt"
)

// Codec turns results into bytes and back. It must be safe for concurrent use.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// JSON is the Codec of encoding/json.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// DoJSON is Do for a function that returns a value, kept as JSON.
func DoJSON[T any](ctx context.Context, d *Deduper, id Identity, fn func(ctx context.Context) (T, error)) (T, Result, error) {
	return DoCodec(ctx, d, id, JSON, fn)
}

// DoCodec is Do for a function that returns a value, kept by codec. A duplicate is
// answered with the value that was kept; when it was Omitted, or was kept by
// another codec, the value is zero, and in the second case the error says so. A
// value that cannot be marshalled is returned all the same and recorded as
// omitted: the work has been done.
func DoCodec[T any](ctx context.Context, d *Deduper, id Identity, codec Codec, fn func(ctx context.Context) (T, error)) (T, Result, error) {
	var value T
	result, err := d.Do(ctx, id, func(ctx context.Context) ([]byte, error) {
		v, err := fn(ctx)
		if err != nil {
			return nil, err
		}
		value = v
		data, err := codec.Marshal(v)
		if err != nil {
			runFrom(ctx).omitted = true
			return nil, nil
		}
		return data, nil
	})
	if err != nil || !result.Duplicate || result.Bytes == nil {
		return value, result, err
	}
	if err := codec.Unmarshal(result.Bytes, &value); err != nil {
		return value, result, fmt.Errorf("dedupe: the result kept for consumer %q: %w", d.opts.Consumer, err)
	}
	return value, result, nil
}
