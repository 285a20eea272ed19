package json5

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sample has a member of every kind Decode knows.
type sample struct {
	Name      string            `json:"name"`
	On        bool              `json:"on"`
	Weight    int               `json:"weight"`
	Tiny      int8              `json:"tiny"`
	Long      int64             `json:"long"`
	Port      uint16            `json:"port"`
	Mask      uint64            `json:"mask"`
	Ratio     float64           `json:"ratio"`
	Half      float32           `json:"half"`
	Limit     *int              `json:"limit,omitempty"`
	Wait      duration          `json:"wait"`
	Later     *duration         `json:"later"`
	Tags      []string          `json:"tags"`
	Headers   map[string]string `json:"headers"`
	Instances []instance        `json:"instances"`
	Pools     map[string]*pool  `json:"pools"`
	Untagged  string
	Skipped   string `json:"-"`
}

type instance struct {
	URL    string `json:"url"`
	APIKey string `json:"api_key"`
	Weight int    `json:"weight"`
}

type pool struct {
	Size uint8 `json:"size"`
}

type duration time.Duration

func (d *duration) UnmarshalValue(v any) error {
	switch v := v.(type) {
	case nil:
		*d = -1
	case string:
		p, err := time.ParseDuration(v)
		if err != nil {
			return err
		}
		*d = duration(p)
	case int64:
		*d = duration(time.Duration(v) * time.Second)
	case float64:
		*d = duration(v * float64(time.Second))
	default:
		return fmt.Errorf("got %v, want a duration", v)
	}
	return nil
}

func TestDecodeValues(t *testing.T) {
	f := func(src string, want sample) {
		t.Helper()
		var got sample
		if err := mustParse(t, src).Decode(&got, Options{}); err != nil {
			t.Errorf("%s: %v", src, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", src, got, want)
		}
	}
	seven := 7
	later := duration(2 * time.Second)
	f(`null`, sample{})
	f(`{}`, sample{})
	f(`{name: 'a\x41', on: true, ratio: 0x10, half: -.5}`, sample{Name: "aA", On: true, Ratio: 16, Half: -.5})
	f(`{"weight": 0x1F, tiny: -128, port: +65535, limit: 7}`, sample{Weight: 31, Tiny: -128, Port: 65535, Limit: &seven})
	f(`{weight: 1e3, tiny: 12.50e1, port: 5., long: -0}`, sample{Weight: 1000, Tiny: 125, Port: 5})
	f(`{"long": 9223372036854775807, "mask": 18446744073709551615}`, sample{Long: math.MaxInt64, Mask: math.MaxUint64})
	f(`{long: -9223372036854775808, mask: 0xFFFFFFFFFFFFFFFF}`, sample{Long: math.MinInt64, Mask: math.MaxUint64})
	f(`{"long": 9007199254740993, "mask": 9007199254740993.0e0}`, sample{Long: 1<<53 + 1, Mask: 1<<53 + 1})
	f(`{wait: '1m', later: 2}`, sample{Wait: duration(time.Minute), Later: &later})
	f(`{wait: 1.5}`, sample{Wait: duration(1500 * time.Millisecond)})
	f(`{wait: null, later: null, name: null, tags: null, limit: null}`, sample{Wait: -1})
	f(`{tags: ['a', null, "b"]}`, sample{Tags: []string{"a", "", "b"}})
	f(`{tags: []}`, sample{Tags: []string{}})
	f(`{headers: {'x-a': '1', b: null}}`, sample{Headers: map[string]string{"x-a": "1", "b": ""}})
	f(`{"instances": [{"ur\u006c": "u"}, {"weight": 2}]}`, sample{Instances: []instance{{URL: "u"}, {Weight: 2}}})
	f(`{pools: {a: {size: 3}, b: null}}`, sample{Pools: map[string]*pool{"a": {Size: 3}, "b": nil}})

	// Defaults set before stay.
	got := sample{Weight: 5, Name: "x"}
	if err := mustParse(t, `{name: 'y', weight: null}`).Decode(&got, Options{}); err != nil || got.Weight != 5 || got.Name != "y" {
		t.Errorf("got %+v, %v, want weight 5 and name y", got, err)
	}
}

func TestDecodeErrors(t *testing.T) {
	f := func(src string, want ...string) {
		t.Helper()
		var v sample
		err := mustParse(t, src).Decode(&v, Options{})
		var errs Errors
		if !errors.As(err, &errs) {
			t.Errorf("%s: got %v, want Errors", src, err)
			return
		}
		if got := errs.Error(); got != strings.Join(want, "\n") {
			t.Errorf("%s:\ngot  %s\nwant %s", src, got, strings.Join(want, "\n     "))
		}
	}
	// Unknown members.
	f(`{"x": 1}`, `1:2: unknown member "x"`+sampleNames)
	f(`{"wieght": 1}`, `1:2: unknown member "wieght"; did you mean "weight"?`)
	f(`{"Weight": 1}`, `1:2: unknown member "Weight"; did you mean "weight"?`)
	f(`{"Untagged": 1, "-": 1}`, `1:2: unknown member "Untagged"`+sampleNames, `1:17: unknown member "-"`+sampleNames)
	f("{instances: [{},\n {apiKey: 'k'},\n {model: 'm'}]}",
		`2:3: instances[1]: unknown member "apiKey"; did you mean "api_key"?`,
		`3:3: instances[2]: unknown member "model"; known members are url, api_key, weight`)
	f(`{pools: {a: {sise: 1}}}`, `1:14: pools.a: unknown member "sise"; did you mean "size"?`)
	f(`{pools: {'a b"': {x: 1}}}`, `1:19: pools["a b\""]: unknown member "x"; known members are size`)
	f("{'"+strings.Repeat("é", 50)+"': 1}", `1:2: unknown member "`+strings.Repeat("é", 32)+`…"`+sampleNames)
	f("{'a\\nb\\x1b': 1}", `1:2: unknown member "a\nb\x1b"`+sampleNames)

	// Duplicates. Only the name counts, and the first value is kept.
	f("{\"weight\": 1,\n\"weight\": 'x'}", `2:1: duplicate member "weight"; the first is on line 1`)
	f("{instances: [{\nurl: 'a',\n\n'ur\\u006c': 'b'}]}", `4:1: instances[0]: duplicate member "url"; the first is on line 2`)
	f("{headers: {a: '1',\na: '2', a: '3'}}",
		`2:1: headers: duplicate member "a"; the first is on line 1`,
		`2:9: headers: duplicate member "a"; the first is on line 1`)
	f("{x: 1, x: 2}", `1:2: unknown member "x"`+sampleNames, `1:8: duplicate member "x"; the first is on line 1`)

	// Types.
	f(`[]`, `1:1: got an array, want an object`)
	f(`{weight: "5", name: 5, on: 'yes', ratio: true, tags: 'a', headers: [], instances: {}}`,
		`1:10: weight: got a string, want a whole number`,
		`1:21: name: got a number, want a string`,
		`1:28: on: got a string, want true or false`,
		`1:42: ratio: got true, want a number`,
		`1:54: tags: got a string, want an array`,
		`1:68: headers: got an array, want an object`,
		`1:83: instances: got an object, want an array`)
	f(`{instances: [5], tags: [{}], pools: {a: 'x'}, name: [], on: 0}`,
		`1:14: instances[0]: got a number, want an object`,
		`1:25: tags[0]: got an object, want a string`,
		`1:41: pools.a: got a string, want an object`,
		`1:53: name: got an array, want a string`,
		`1:61: on: got a number, want true or false`)
	f(`{name: true, weight: false}`, `1:8: name: got true, want a string`, `1:22: weight: got false, want a whole number`)

	// Numbers.
	f(`{weight: 1.5, port: 1e-400000000000000000000}`,
		`1:10: weight: got a number with a fraction, want a whole number`,
		`1:21: port: got a number with a fraction, want a whole number`)
	f(`{tiny: 128, port: 65536, port2: 0, mask: -1}`,
		`1:8: tiny: number is out of range, want -128 to 127`,
		`1:19: port: number is out of range, want 0 to 65535`,
		`1:26: unknown member "port2"; did you mean "port"?`,
		`1:42: mask: number is out of range, want 0 to 18446744073709551615`)
	f(`{long: 9223372036854775808, mask: 0x10000000000000000, weight: 1e400000000000000000000}`,
		`1:8: long: number is out of range, want -9223372036854775808 to 9223372036854775807`,
		`1:35: mask: number is out of range, want 0 to 18446744073709551615`,
		`1:64: weight: number is out of range, want -9223372036854775808 to 9223372036854775807`)
	f(`{ratio: 1e400, half: 1e39, wait: 1e400}`,
		`1:9: ratio: number is out of range`, `1:22: half: number is out of range`, `1:34: wait: number is out of range`)
	f(`{weight: Infinity, ratio: -Infinity, name: NaN, on: +NaN, wait: Infinity}`,
		`1:10: weight: got Infinity, want a whole number`,
		`1:27: ratio: got -Infinity, want a number`,
		`1:44: name: got NaN, want a string`,
		`1:53: on: got +NaN, want true or false`,
		`1:65: wait: got Infinity, want a finite number`)

	// Types that read themselves.
	f(`{wait: {}, later: 'soon', tags: ['a']}`,
		`1:8: wait: got an object, want a single value`,
		`1:19: later: time: invalid duration "soon"`)
	f(`{wait: true}`, `1:8: wait: got true, want a duration`)
}

func TestDecodeTarget(t *testing.T) {
	d := mustParse(t, `{"a": 1}`)
	f := func(v any, want string) {
		t.Helper()
		if err := d.Decode(v, Options{}); err == nil || err.Error() != want {
			t.Errorf("%T: got %v, want %s", v, err, want)
		}
	}
	f(nil, "decoding: got <nil>, want a pointer that is not nil")
	f(sample{}, "decoding: got json5.sample, want a pointer that is not nil")
	f((*sample)(nil), "decoding: got *json5.sample, want a pointer that is not nil")
	f(&struct {
		A any `json:"a"`
	}{}, "1:7: a: type interface {} cannot be read from a file")
	f(&map[int]int{}, "1:1: type map[int]int cannot be read from a file")
}

func TestDecodeManyErrors(t *testing.T) {
	src := "[" + strings.Repeat("{x: 1},", 20000) + "]" // one long line
	var v []instance
	err := mustParse(t, src).Decode(&v, Options{})
	errs, ok := errors.AsType[Errors](err)
	if !ok || len(errs) != maxErrors+1 {
		t.Fatalf("got %d errors, want %d", len(errs), maxErrors+1)
	}
	want := `1:6996: too many mistakes, 19000 more are not shown`
	if got := errs[maxErrors].Error(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := len(errs[500].Text); got > 2*shownWidth {
		t.Errorf("got %d bytes of text, want the line cut", got)
	}
}

func TestStringHook(t *testing.T) {
	opt := Options{String: func(s string) (string, error) {
		switch s {
		case "{env.NONE}":
			return "", errors.New("environment variable NONE is not set")
		case "{env.KEY}":
			return "sk-from-env", nil
		case "{env.WAIT}":
			return "value-from-env", nil
		}
		return s, nil
	}}
	var v sample
	err := mustParse(t, `{
	'{env.KEY}': 1,
	name: '{env.KEY}', tags: ['{env.NONE}', 'a'], headers: {'{env.KEY}': '{env.KEY}'},
	wait: '{env.WAIT}',
}`).Decode(&v, opt)
	want := strings.Join([]string{
		`2:2: unknown member "{env.KEY}"` + sampleNames,
		`3:28: tags[0]: environment variable NONE is not set`,
		`4:8: wait: time: invalid duration "***"`, // what a placeholder stands for may be a secret
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if v.Name != "sk-from-env" || v.Headers["{env.KEY}"] != "sk-from-env" || v.Tags[1] != "a" {
		t.Errorf("got %+v, want the hook applied to values and not to names", v)
	}
}

// TestManyInstances guards the budget of 1 s for 10,000 instances, of which
// reading the file may take a small part.
func TestManyInstances(t *testing.T) {
	var b strings.Builder
	b.WriteString("{instances: [\n")
	for i := range 10000 {
		fmt.Fprintf(&b, "  {url: 'http://10.0.0.1:%d/v1', api_key: 'sk-%d', weight: 1}, // box\n", i, i)
	}
	b.WriteString("]}\n")
	start := time.Now()
	var v sample
	if err := mustParse(t, b.String()).Decode(&v, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes in %v", b.Len(), time.Since(start))
	if len(v.Instances) != 10000 || v.Instances[9999].APIKey != "sk-"+strconv.Itoa(9999) {
		t.Errorf("got %d instances, want 10000", len(v.Instances))
	}
}

func BenchmarkParseDecode(b *testing.B) {
	src := []byte(`{"instances": [` + strings.Repeat(`{"url": "http://10.0.0.1:8000/v1", "api_key": "sk-1", "weight": 1}, `, 1000) + `]}`)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := Parse(src)
		if err != nil {
			b.Fatal(err)
		}
		var v sample
		if err := d.Decode(&v, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// sampleNames ends the message about a member that is like none of the sample's.
const sampleNames = "; known members are name, on, weight, tiny, long, port, mask, ratio, half, limit, wait, later, tags, headers, instances, pools"
