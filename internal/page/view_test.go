package page

import (
	"slices"
	"testing"
)

func TestVerdict(t *testing.T) {
	well := func() *Status {
		return &Status{Config: Config{Valid: true}, Models: []Model{{Name: "m", State: ModelServing, Tiers: []Tier{{Tier: "primary", Instances: []Instance{
			{ID: "1", Name: "a", State: Serving}, {ID: "2", Name: "b", State: Serving},
		}}}}}}
	}
	first := func(s *Status) *Instance { return &s.Models[0].Tiers[0].Instances[0] }
	f := func(name string, change func(*Status), verdict string, problems, takes int) {
		t.Helper()
		s := well()
		change(s)
		v := newView(s)
		if v.Verdict != verdict || len(v.Problems) != problems || v.Takes != takes {
			t.Errorf("%s: got verdict %s, %d problems %v, %d instances that take requests, want %s, %d, %d",
				name, v.Verdict, len(v.Problems), v.Problems, v.Takes, verdict, problems, takes)
		}
	}
	f("all well", func(*Status) {}, "ok", 0, 2)
	f("no model", func(s *Status) { s.Models = nil }, "idle", 0, 0)
	f("no model and a bad file", func(s *Status) { s.Models, s.Config.Valid = nil, false }, "warning", 1, 0)
	f("ejected", func(s *Status) { first(s).State = Ejected }, "warning", 1, 1)
	f("half-open", func(s *Status) { first(s).State = HalfOpen }, "warning", 1, 1)
	f("resting", func(s *Status) { first(s).State = Resting }, "warning", 1, 1)
	f("ramping", func(s *Status) { first(s).State = Ramping }, "ok", 0, 2)
	f("draining", func(s *Status) { first(s).State = Draining }, "ok", 0, 1)
	f("off", func(s *Status) { first(s).State = Off }, "ok", 0, 1)
	f("on fallback", func(s *Status) { s.Models[0].State = ModelOnFallback }, "warning", 1, 2)
	f("empty", func(s *Status) { s.Models[0].State = ModelEmpty }, "critical", 1, 2)
	f("rejected file", func(s *Status) { s.Config.Valid = false }, "warning", 1, 2)
	f("an alert of information", func(s *Status) { s.Alerts = []Alert{{Severity: Info}} }, "ok", 0, 2)
	f("an alert", func(s *Status) { s.Alerts = []Alert{{Severity: Warning, Kind: "disk_low"}} }, "warning", 1, 2)
	f("a critical alert", func(s *Status) { s.Alerts = []Alert{{Severity: Critical, Kind: "disk_low"}} }, "critical", 1, 2)
	f("an alert of what is known", func(s *Status) {
		first(s).State, s.Alerts = Ejected, []Alert{{Severity: Warning, Instance: "a", Model: "m"}}
	}, "warning", 1, 1)
	f("a graver alert of what is known", func(s *Status) {
		first(s).State, s.Alerts = Ejected, []Alert{{Severity: Critical, Instance: "a", Model: "m"}}
	}, "critical", 1, 1)
	f("critical stays", func(s *Status) { s.Models[0].State, first(s).State = ModelEmpty, Ejected }, "critical", 2, 1)
}

func TestProblemsAreBounded(t *testing.T) {
	s := large(1, 20).take()
	for i := range s.Models[0].Tiers[0].Instances {
		s.Models[0].Tiers[0].Instances[i].State = Ejected
	}
	s.Models[0].State, s.Alerts = ModelEmpty, nil
	v := newView(s)
	if len(v.Problems) != listedProblems || v.More != 21-listedProblems {
		t.Errorf("got %d problems and %d more, want %d and %d", len(v.Problems), v.More, listedProblems, 21-listedProblems)
	}
	if v.Problems[0].Severity != Critical {
		t.Errorf("got %v first, want the critical one", v.Problems[0])
	}
}

func TestEventsAreBounded(t *testing.T) {
	s := &Status{Events: make([]Event, 500)}
	if v := newView(s); len(v.Events) != shownEvents || len(s.Events) != 500 {
		t.Errorf("got %d events shown and %d kept, want %d and 500", len(v.Events), len(s.Events), shownEvents)
	}
}

func TestSum(t *testing.T) {
	var s sum
	s.add(nil)
	s.add(&Spark{StepSeconds: 15})
	a := &Spark{StepSeconds: 15, Requests: []int64{1, 2}, Errors: []int64{0, 1}}
	s.add(a)
	s.add(&Spark{StepSeconds: 15, Requests: []int64{10, 20, 30}, Errors: []int64{1, 1, 1}})
	s.add(&Spark{StepSeconds: 15, Requests: []int64{100}, Errors: []int64{100}})
	if want := []int64{10, 21, 132}; !slices.Equal(s.spark.Requests, want) {
		t.Errorf("requests: got %v, want %v", s.spark.Requests, want)
	}
	if want := []int64{1, 1, 102}; !slices.Equal(s.spark.Errors, want) {
		t.Errorf("errors: got %v, want %v", s.spark.Errors, want)
	}
	if !slices.Equal(a.Requests, []int64{1, 2}) {
		t.Errorf("adding has changed what was added: %v", a.Requests)
	}
	if got, want := s.spark.Data(), "15|10 21 132|1 1 102"; got != want {
		t.Errorf("data: got %q, want %q", got, want)
	}
}

// TestModelSums: a model's errors are weighted by its instances' requests.
func TestModelSums(t *testing.T) {
	s := &Status{Models: []Model{{Name: "m", Tiers: []Tier{{Instances: []Instance{
		{ID: "1", RequestsPerSecond: 9, InFlight: 2, TokensPerSecond: 100, State: Serving},
		{ID: "2", RequestsPerSecond: 1, InFlight: 1, TokensPerSecond: 10, State: Off, ErrorShare: 1},
	}}}}}}
	row := newView(s).Rows[0]
	if row.ErrorShare != 0.1 || row.InFlight != 3 || row.TokensPerSecond != 110 || row.RequestsPerSecond != 10 || row.Takes != 1 || row.Count != 2 {
		t.Errorf("got %+v", row)
	}
	if row.Instances[0].Key == row.Instances[1].Key {
		t.Errorf("two instances have the key %s", row.Instances[0].Key)
	}
}
