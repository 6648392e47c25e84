package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestFindID(t *testing.T) {
	for _, test := range []struct{ line, path, want string }{
		{`{"id":"a"}`, "id", "a"},
		{`{"id":42}`, "id", "42"},
		{`{"id":-1.50}`, "id", "-1.50"},
		{`{"id":12345678901234567890}`, "id", "12345678901234567890"},
		{`{"order":{"head":{"id":"x"}}}`, "order.head.id", "x"},
		{`{ "id" : "\u0061" }`, "id", "a"},
		// What a header would change is escaped, so that no two ids become one.
		{`{"id":" a"}`, "id", "%20a"},
		{`{"id":"a\nb"}`, "id", "a%0Ab"},
		{`{"id":"a%20b"}`, "id", "a%2520b"},
		{`{"id":"\u00fc"}`, "id", "%C3%BC"},
		{`{"id":""}`, "id", "error: the id is empty"},
		{`{"id":null}`, "id", "error: id is neither a string nor a number"},
		{`{"id":["a"]}`, "id", "error: id is neither a string nor a number"},
		{`{"id":{"id":1}}`, "id", "error: id is neither a string nor a number"},
		{`{"Id":"a"}`, "id", `error: no id: the line has no field "id"`},
		{`{"order":{}}`, "order.id", `error: no id: order has no field "id"`},
		{`{"order":null}`, "order.id", "error: no id: order is not an object"},
		{`["id"]`, "id", "error: no id: the line is not an object"},
		{`null`, "id", "error: no id: the line is not an object"},
		{`{"id":"a"`, "id", "error: not JSON"},
		{`{"id":"a"}{}`, "id", "error: not JSON"},
		{"{\"id\":\"\xff\"}", "id", "error: not UTF-8"},
		{`{"id":"\ud800"}`, "id", "error: the id is not valid Unicode"},
		{`{"id":"` + strings.Repeat("a", 4096) + `"}`, "id", strings.Repeat("a", 4096)},
		{`{"id":"` + strings.Repeat("a", 4097) + `"}`, "id", "error: the id is too long: 4097 bytes, the limit is 4096"},
	} {
		got, err := findID([]byte(test.line), strings.Split(test.path, "."))
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != test.want {
			t.Errorf("%s in %.40s: %.80s, want %.80s", test.path, test.line, got, test.want)
		}
	}
}

func TestLines(t *testing.T) {
	long := func(n int) string { return `{"id":"` + strings.Repeat("a", n-len(`{"id":""}`)) + `"}` }
	for _, test := range []struct{ name, in, want string }{
		{"no end", `{"id":1}`, "order 1"},
		{"ends", "{\"id\":1}\r\n{\"id\":2}\n", "order 1, order 2"},
		{"blank", "\n \n{\"id\":1}\n\n", "order 1"},
		{"none", "", ""},
		{"byte order mark", "\ufeff{\"id\":1}\n\ufeff{\"id\":2}", "order 1, line 2"},
		{"as long as can be", long(200) + "\n" + `{"id":1}`, "order " + strings.Repeat("a", 191) + ", order 1"},
		{"as long as can be, CRLF", long(200) + "\r\n", "order " + strings.Repeat("a", 191)},
		{"too long", long(201) + "\n" + `{"id":1}`, "line 1, order 1"},
		{"much too long", long(300_000) + "\n" + `{"id":1}` + "\n" + long(300_000), "line 1, order 1, line 3"},
	} {
		var got []string
		l := &lines{in: strings.NewReader(test.in), path: []string{"id"}, limit: 200, reject: func(line int, _ error) {
			got = append(got, fmt.Sprint("line ", line))
		}}
		err := l.orders(func(o order) bool {
			got = append(got, "order "+o.id)
			return true
		})
		if err != nil || strings.Join(got, ", ") != test.want {
			t.Errorf("%s: %v, %v, want %s", test.name, got, err, test.want)
		}
	}
}
