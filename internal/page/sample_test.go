package page

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// sample is a fleet that lives: its figures move with the time it is asked at.
type sample struct {
	mu     sync.Mutex
	now    time.Time
	random *rand.Rand
	status *Status
}

// steps and stepSeconds make 15 minutes.
const (
	steps       = 60
	stepSeconds = 15
)

var sampleStart = time.Date(2026, 11, 23, 9, 41, 27, 0, time.UTC)

// newSample returns a fleet in which most things that can happen have happened.
func newSample() *sample {
	s := &sample{now: sampleStart, random: rand.New(rand.NewPCG(7, 11))}
	at := func(seconds int) time.Time { return s.now.Add(-time.Duration(seconds) * time.Second) }
	s.status = &Status{
		Version: "v0.9.2", Started: at(3*86400 + 5*3600 + 12), Now: s.now,
		Config: Config{Path: "/etc/caddy/config.json5", Loaded: at(41 * 60), Valid: true, Strategy: "least_connections"},
		Models: []Model{
			{Name: "qwen3-235b-a22b-instruct", State: ModelServing, Tiers: []Tier{
				{Tier: "primary", Instances: []Instance{
					s.instance("gpu-01", "10.20.0.11:8000/v1", "vllm", 3.4, 410, 24),
					s.instance("gpu-02", "10.20.0.12:8000/v1", "vllm", 3.1, 432, 25),
					s.instance("gpu-03", "10.20.0.13:8000/v1", "vllm", 0, 0, 0),
					s.instance("gpu-04", "10.20.0.14:8000/v1", "vllm", 0.9, 388, 23),
				}},
				{Tier: Fallback, Instances: []Instance{s.instance("cloud-overflow", "api.together.example/v1", "", 0, 0, 0)}},
			}},
			{Name: "deepseek-v3.2", State: ModelServing, Tiers: []Tier{{Tier: "primary", Instances: []Instance{
				s.instance("h200-a", "10.20.1.21:30000/v1", "sglang", 5.2, 690, 19),
				s.instance("h200-b", "10.20.1.22:30000/v1", "sglang", 4.8, 702, 20),
			}}}},
			{Name: "qwen3-coder-30b", State: ModelOnFallback, Tiers: []Tier{
				{Tier: "primary", Instances: []Instance{s.instance("l40s-07", "10.20.2.37:8000/v1", "vllm", 0, 0, 0)}},
				{Tier: Fallback, Instances: []Instance{s.instance("l40s-spare", "10.20.2.40:8000/v1", "vllm", 6.3, 280, 12)}},
			}},
			{Name: "llama-3.3-70b", State: ModelServing, Tiers: []Tier{{Tier: "primary", Instances: []Instance{
				s.instance("a100-1", "10.20.3.51:8080/v1", "llama.cpp", 1.2, 520, 31),
				s.instance("a100-2", "10.20.3.52:8080/v1", "llama.cpp", 1.4, 507, 30),
				s.instance("a100-3", "10.20.3.53:8080/v1", "llama.cpp", 0, 0, 0),
			}}}},
			{Name: "bge-m3", State: ModelServing, Tiers: []Tier{{Tier: "primary", Instances: []Instance{
				s.instance("embed-1", "10.20.4.61:8001/v1", "tei", 38, 0, 0),
				s.instance("embed-2", "10.20.4.62:8001/v1", "tei", 41, 0, 0),
			}}}},
		},
		Events: []Event{
			{At: at(9), Kind: "instance_trial", Severity: Info, Instance: "l40s-07", Model: "qwen3-coder-30b"},
			{At: at(34), Kind: "instance_resting", Severity: Warning, Instance: "a100-2", Model: "llama-3.3-70b", Reason: "rate_limit", Text: "Retry-After: 45"},
			{At: at(71), Kind: "instance_ejected", Severity: Warning, Instance: "gpu-03", Model: "qwen3-235b-a22b-instruct", Reason: "first_token", Text: "10 failures in a row within 60 s"},
			{At: at(72), Kind: "pool_on_fallback", Severity: Warning, Model: "qwen3-coder-30b"},
			{At: at(74), Kind: "instance_ejected", Severity: Critical, Instance: "l40s-07", Model: "qwen3-coder-30b", Reason: "connect", Text: "third time in a row, out for 20 s"},
			{At: at(212), Kind: "instance_back", Severity: Info, Instance: "gpu-04", Model: "qwen3-235b-a22b-instruct"},
			{At: at(243), Kind: "instance_ejected", Severity: Warning, Instance: "gpu-04", Model: "qwen3-235b-a22b-instruct", Reason: "reset"},
			{At: at(41 * 60), Kind: "config_applied", Severity: Info, Text: "2 instances added, 1 removed"},
			{At: at(42 * 60), Kind: "instance_draining", Severity: Info, Instance: "a100-3", Model: "llama-3.3-70b", Reason: "manual"},
		},
		Alerts: []Alert{
			{Kind: "instance_ejected", Severity: Warning, Since: at(74), Instance: "l40s-07", Model: "qwen3-coder-30b", Reason: "connect"},
			{Kind: "instance_ejected", Severity: Warning, Since: at(71), Instance: "gpu-03", Model: "qwen3-235b-a22b-instruct", Reason: "first_token", Text: "p99 of the time to the first token was 41 s before"},
		},
		Recorder: Recorder{Enabled: true, Written: 1284311, Queued: 3, DiskFreeBytes: 412_300_000_000, Dropped: map[string]int64{"queue_full": 12}},
	}
	s.set("gpu-03", func(in *Instance) {
		in.State, in.Reason, in.WaitSeconds, in.ErrorShare = Ejected, "first_token", 38, 0.62
		in.LastError = &LastError{at(71), "first_token"}
		in.Spark = s.spark(3.2)
		for i := range 5 {
			in.Spark.Requests[steps-1-i], in.Spark.Errors[steps-1-i] = 0, 0
		}
		for i := steps - 9; i < steps-5; i++ {
			in.Spark.Errors[i] = in.Spark.Requests[i] * int64(i-steps+10) / 5
		}
	})
	s.set("gpu-04", func(in *Instance) { in.State, in.WaitSeconds, in.LastError = Ramping, 12, &LastError{at(243), "reset"} })
	s.set("l40s-07", func(in *Instance) {
		in.State, in.Reason, in.InFlight, in.ErrorShare, in.LastError = HalfOpen, "connect", 1, 1, &LastError{at(9), "connect"}
		in.UpstreamModel = "Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8"
	})
	s.set("a100-2", func(in *Instance) { in.State, in.Reason, in.WaitSeconds = Resting, "rate_limit", 11 })
	s.set("a100-3", func(in *Instance) { in.State, in.Reason, in.InFlight = Draining, "operator", 2 })
	s.set("cloud-overflow", func(in *Instance) { in.State, in.Reason, in.Weight = Off, "weight", 0 })
	s.set("embed-2", func(in *Instance) { in.ErrorShare = 0.013 })
	return s
}

// instance returns one with load requests a second; ttft and itl are in milliseconds.
func (s *sample) instance(name, address, engine string, load, ttft, itl float64) Instance {
	in := Instance{
		ID: key(name, address), Name: name, Address: address, Weight: 1, Engine: engine, State: Serving,
		RequestsPerSecond: load, TokensPerSecond: load * 214, InFlight: int64(load * 5.3), MaxConcurrency: 64, Spark: s.spark(load),
	}
	if ttft > 0 {
		in.TTFT, in.ITL = &Percentiles{ttft, ttft * 3.7}, &Percentiles{itl, itl * 2.6}
	} else {
		in.TokensPerSecond, in.MaxConcurrency = 0, 0
	}
	return in
}

func (s *sample) spark(load float64) *Spark {
	p := &Spark{StepSeconds: stepSeconds, Requests: make([]int64, steps), Errors: make([]int64, steps)}
	for i := range steps {
		wave := 1 + 0.25*math.Sin(float64(i)/7) + 0.2*s.random.NormFloat64()*min(1, load)
		p.Requests[i] = int64(max(0, load*stepSeconds*wave))
		if p.Requests[i] > 0 && s.random.Float64() < 0.02 {
			p.Errors[i] = 1
		}
	}
	return p
}

// set changes the instance of that name in all that is shown from now on.
func (s *sample) set(name string, change func(*Instance)) {
	s.edit(func(st *Status) {
		for m := range st.Models {
			for t := range st.Models[m].Tiers {
				for i := range st.Models[m].Tiers[t].Instances {
					if in := &st.Models[m].Tiers[t].Instances[i]; in.Name == name {
						change(in)
					}
				}
			}
		}
	})
}

// edit changes a copy of the status, as the page demands, and takes it from then on.
func (s *sample) edit(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := copied(s.status)
	change(next)
	s.status = next
}

func copied(st *Status) *Status {
	c := *st
	c.Models = append([]Model(nil), st.Models...)
	for m := range c.Models {
		c.Models[m].Tiers = append([]Tier(nil), c.Models[m].Tiers...)
		for t := range c.Models[m].Tiers {
			tier := &c.Models[m].Tiers[t]
			tier.Instances = append([]Instance(nil), tier.Instances...)
		}
	}
	return &c
}

// take returns the status; it is a source.
func (s *sample) take() *Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := Totals{}
	for _, m := range s.status.Models {
		for _, t := range m.Tiers {
			for _, in := range t.Instances {
				total.InFlight += in.InFlight
				total.RequestsPerSecond += in.RequestsPerSecond
				total.TokensPerSecond += in.TokensPerSecond
			}
		}
	}
	if total.RequestsPerSecond > 0 {
		total.ErrorShare = 0.004
	}
	c := *s.status
	c.Totals = total
	return &c
}

// tick lets a second pass.
func (s *sample) tick() {
	s.edit(func(st *Status) {
		st.Now = st.Now.Add(time.Second)
		for m := range st.Models {
			for t := range st.Models[m].Tiers {
				for i := range st.Models[m].Tiers[t].Instances {
					s.move(&st.Models[m].Tiers[t].Instances[i], st.Now)
				}
			}
		}
		st.Recorder.Written += int64(s.random.IntN(30))
	})
}

func (s *sample) move(in *Instance, now time.Time) {
	if in.WaitSeconds > 0 {
		in.WaitSeconds = max(1, in.WaitSeconds-1)
	}
	if in.RequestsPerSecond == 0 {
		return
	}
	in.RequestsPerSecond *= 1 + 0.05*s.random.NormFloat64()
	in.InFlight = max(0, in.InFlight+int64(s.random.IntN(5))-2)
	if in.TTFT != nil {
		in.TokensPerSecond = in.RequestsPerSecond * 214
		in.TTFT = &Percentiles{in.TTFT.P50 * (1 + 0.01*s.random.NormFloat64()), in.TTFT.P99 * (1 + 0.02*s.random.NormFloat64())}
	}
	if now.Unix()%stepSeconds == 0 {
		last := int64(max(0, in.RequestsPerSecond*stepSeconds*(1+0.2*s.random.NormFloat64())))
		in.Spark = &Spark{
			StepSeconds: stepSeconds, Requests: append(append([]int64(nil), in.Spark.Requests[1:]...), last),
			Errors: append(append([]int64(nil), in.Spark.Errors[1:]...), 0),
		}
	}
}

// large returns a fleet of models with so many instances in all, evenly spread.
func large(models, instances int) *sample {
	s := newSample()
	s.status.Models, s.status.Alerts = nil, nil
	for m := range models {
		model := Model{Name: fmt.Sprintf("model-%02d-instruct", m), State: ModelServing, Tiers: []Tier{{Tier: "primary"}}}
		for i := range instances {
			if i%models == m {
				n := fmt.Sprintf("node-%03d", i)
				model.Tiers[0].Instances = append(model.Tiers[0].Instances, s.instance(n, fmt.Sprintf("10.1.%d.%d:8000/v1", i/250, i%250), "vllm", 2+s.random.Float64(), 300, 20))
			}
		}
		s.status.Models = append(s.status.Models, model)
	}
	return s
}

// The names of a fleet that means harm. \u202e turns the direction of writing.
const (
	hostileName  = `<script>window.harm=1</script>"'><img src=x onerror=window.harm=1>`
	hostileTurn  = "gpu-\u202e10-dab\u2066"
	hostileLong  = "a-very-long-name-"
	hostileQuote = `"onmouseover="window.harm=1" x='`
)

// hostile returns a fleet whose every text means harm.
func hostile() *sample {
	s := newSample()
	long := hostileName
	for range 200 {
		long += hostileLong
	}
	in := s.instance(hostileName, hostileQuote, hostileName, 1, 300, 20)
	in.UpstreamModel, in.Reason, in.State, in.LastError = long, hostileName, Ejected, &LastError{sampleStart, hostileName}
	turned := s.instance(hostileTurn, long, hostileTurn, 1, 300, 20)
	turned.State = InstanceState(`" onclick="window.harm=1`)
	s.status.Models = []Model{
		{Name: hostileName, State: ModelServing, Tiers: []Tier{{Tier: "primary", Instances: []Instance{in, turned}}}},
		{Name: long, State: ModelState(hostileQuote), Tiers: []Tier{{Tier: hostileName, Instances: []Instance{in}}}},
		{Name: hostileTurn, State: ModelEmpty},
	}
	s.status.Version = hostileName
	s.status.Config = Config{Path: long, Error: "1:1: " + hostileName, Strategy: hostileName}
	s.status.Events = []Event{{At: sampleStart, Kind: hostileName, Severity: Severity(hostileQuote), Instance: long, Model: hostileTurn, Reason: hostileName, Text: long}}
	s.status.Alerts = []Alert{{Since: sampleStart, Kind: hostileQuote, Severity: Critical, Instance: hostileTurn, Model: hostileName, Reason: long, Text: hostileName}}
	s.status.Recorder.Dropped = map[string]int64{hostileName: 3, long: 4}
	return s
}
