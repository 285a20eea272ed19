package aigateway

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/openai"
)

// anyModel is the model_name of instances that take every model which no other
// instance names.
const anyModel = "*"

// tier orders the instances of a pool: the fallback tier is asked when no
// primary can be.
type tier uint8

const (
	primary tier = iota
	fallback
)

func (t tier) String() string { return [...]string{"primary", "fallback"}[t] }

// drain says who lets an instance drain.
type drain struct {
	file bool // as long as it says so
	hand bool // by the admin API, until that takes it back
}

func (d drain) any() bool { return d.file || d.hand }

// by names who does, for people: file, api, both, or nobody.
func (d drain) by() string {
	switch {
	case d.file && d.hand:
		return "both"
	case d.file:
		return "file"
	case d.hand:
		return "api"
	}
	return ""
}

// instance is one configured endpoint. It is immutable but for its state, which
// outlives swaps of the file.
type instance struct {
	id     string // stable over swaps: 12 hex digits
	name   string // for people, headers and logs
	config *InstanceConfig
	tier   tier
	model  string
	engine string
	weight int
	drain  drain // gets no new requests

	scheme string // http or https
	host   string // as in the URL, for the Host header and TLS
	dials  string // host of the URL that the transport gets: see [instance.resolvesTo]
	base   string // path that /v1 stands for, without a final slash: "/v1", "/maas/v1" or ""
	root   string // path that the server's root stands for: base without its last "/v1"
	paths  map[string]string

	authorization string      // "Bearer KEY", or "" to send the client's own
	ownKey        bool        // the file gives it a key, if only as a header
	key           string      // the bare key, for dialects that send it elsewhere
	headers       http.Header // set on every request, canonical names
	upstreamModel string      // "" to send the client's name for it
	modelJSON     []byte      // upstreamModel as a JSON text
	secrets       [][]byte    // that no answer may tell

	asked   []openai.Dialect // whose streams the instance is asked for the usage of
	refuses atomic.Bool      // it has refused to be asked; forgotten with the next swap

	maxConcurrency int // 0: no limit
	contextLength  int // tokens that the file says; 0: what the instance tells, if it does
	deadlines      deadlines
	state          *instanceState
	scout          *instanceState // of the server's scout, if that has discovered the model
	pools          []*pool        // that it is in; one, unless it is of anyModel

	// upstream goes to the proxy as the choice of an own policy; hashed is the
	// same for Caddy's policies, some of which tell upstreams apart by a hash of
	// their dial address, which two instances of one server share. Unknown
	// placeholders in it are replaced by nothing when it is dialled.
	upstream, hashed *reverseproxy.Upstream
}

// newInstance builds the runtime form of a checked configuration entry.
func newInstance(c *InstanceConfig, t tier, id string, state *instanceState) *instance {
	u, err := url.Parse(c.URL)
	if err != nil { // checked by Config.check
		panic(err)
	}
	i := &instance{
		id: id, name: c.Name, config: c, tier: t, model: c.ModelName, engine: c.Engine, weight: *c.Weight, drain: drain{file: c.Drain, hand: state.drained},
		scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Host), base: strings.TrimRight(u.Path, "/"), paths: c.Paths,
		key: c.APIKey, upstreamModel: c.UpstreamModel, maxConcurrency: c.MaxConcurrency, contextLength: c.ContextLength, state: state,
	}
	i.root = strings.TrimSuffix(i.base, "/v1")
	if i.name == "" {
		i.name = defaultName(u)
	}
	if c.APIKey != "" {
		i.authorization = "Bearer " + c.APIKey
	}
	i.asked, i.secrets = c.asked(), secretsOf(c)
	if c.UpstreamModel != "" {
		i.modelJSON, _ = json.Marshal(c.UpstreamModel) // a string always encodes
	}
	if len(c.Headers) > 0 {
		i.headers = make(http.Header, len(c.Headers))
		for name, value := range c.Headers {
			i.headers.Set(name, value)
		}
	}
	i.ownKey = c.APIKey != ""
	for _, name := range []string{"Authorization", "Api-Key", "X-Api-Key"} {
		i.ownKey = i.ownKey || i.headers[name] != nil
	}
	address := i.connects(u)
	i.upstream = &reverseproxy.Upstream{Host: &state.host, Dial: address, MaxRequests: c.MaxConcurrency}
	i.hashed = &reverseproxy.Upstream{Host: &state.host, Dial: address + "{ai_gateway." + id + "}", MaxRequests: c.MaxConcurrency}
	return i
}

// connects sets where the instance is, and returns its address. One behind a name that is
// looked up here has Host and TLS name of that name, and connections of its own: the
// standard transport shares them by the host and port of its URL, and takes the TLS name
// from there. Without TLS that can be the address. With TLS the port is a number that no
// other instance has, and [within] puts the address in its place.
func (i *instance) connects(u *url.URL) (address string) {
	i.dials = i.host
	if address = i.config.address; address == "" {
		return dialAddress(u)
	}
	_, port, _ := net.SplitHostPort(address) // made by net.JoinHostPort
	if i.config.Resolve == resolveSRV {
		i.host = net.JoinHostPort(serviceHost(i.host), port)
	}
	if i.dials = address; i.scheme == "https" {
		number, _ := strconv.ParseUint(i.id, 16, 64) // made by hashID
		i.dials = net.JoinHostPort(hostname(i.host), strconv.FormatUint(number, 10))
	}
	return address
}

// reaches returns the address to connect to for that of a transport: the instance's own,
// unless it is that of a forward proxy.
func (i *instance) reaches(address string) string {
	if address == i.dials {
		return i.upstream.Dial
	}
	return address
}

// scouts reports whether the instance only asks its server for models.
func (i *instance) scouts() bool { return i.model == "" }

// place is host, port and path of the instance, for people.
func (i *instance) place() string {
	if i.config.address != "" {
		return i.config.address + i.base
	}
	return i.host + i.base
}

// defaultName is the name of an instance that the file gives none.
func defaultName(u *url.URL) string {
	return strings.ToLower(u.Host) + strings.TrimRight(u.Path, "/")
}

// shownName is the name of a checked entry, its own or the default.
func (c *InstanceConfig) shownName() string {
	u, err := url.Parse(c.URL)
	if c.Name != "" || err != nil {
		return c.Name
	}
	return defaultName(u)
}

// off reports whether the instance is to get no requests: it is of weight 0, or drains.
func (i *instance) off() bool { return i.weight == 0 || i.drain.any() }

// dialAddress returns host:port, with the scheme's port where u has none.
func dialAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// target returns the path on the instance's server for a route, and a query of
// the instance's own.
func (i *instance) target(rt *route) (path, query string) {
	if own, ok := i.paths[rt.path]; ok {
		path, query, _ = strings.Cut(own, "?")
		return path, query
	}
	if rt.rest != "" {
		return i.base + rt.rest, ""
	}
	return i.root + rt.path, ""
}

// pool is all instances of one model, in tiers.
type pool struct {
	model  string
	tiers  [2]*rotation
	drains bool // all its instances are off, and one at least drains
	state  *modelState
	pulse  pulse

	changes *atomic.Uint64 // of the store: counts changes of phase
	census  atomic.Pointer[census]
}

// census is how many instances of a pool took part as usual after so many changes
// of phase.
type census struct {
	changes uint64
	usable  [2]int // by tier
}

// usable counts the instances of each tier that take part as usual. It counts
// anew only after a change.
func (p *pool) usable() [2]int {
	now := p.changes.Load()
	if c := p.census.Load(); c != nil && c.changes == now {
		return c.usable
	}
	c := &census{changes: now}
	for t, r := range p.tiers {
		for _, i := range r.instances {
			if i.state.health.usable() {
				c.usable[t]++
			}
		}
	}
	p.census.Store(c)
	return c.usable
}

// pressed reports whether so few primaries are usable, and no fallback, that
// ejections for slowness have to be looked past: Envoy calls it panic.
func (p *pool) pressed() bool {
	usable := p.usable()
	return usable[fallback] == 0 && 2*usable[primary] < len(p.tiers[primary].instances)
}

// lastIs reports whether i is usable and no other instance of the pool is. The
// count is made on the spot: of two that fail at once one must stay.
func (p *pool) lastIs(i *instance) bool {
	for _, r := range p.tiers {
		for _, other := range r.instances {
			if other != i && other.state.health.usable() {
				return false
			}
		}
	}
	return true
}

// fleet is the set of pools that one config.json5 describes. It is immutable.
type fleet struct {
	instances []*instance
	scouts    []*instance      // of entries with discover; in no pool, and never given a request
	pools     map[string]*pool // by model; anyModel's is not among them
	any       *pool            // of anyModel, or nil
	models    []string         // sorted names of pools
	order     []string         // names of all pools, as in the file
}

// newFleet sorts instances into pools. Each of names has one, if only without
// instances. States are those of the fleet before, by
// model; changes counts the changes of phase in the store. A model's fallback tier are the fallback
// instances that name it or, if none does, those of anyModel; the same rule
// gives the primary tier of a model that only fallback instances name.
func newFleet(instances []*instance, names []string, states map[string]*modelState, changes *atomic.Uint64) *fleet {
	f := &fleet{pools: make(map[string]*pool), order: slices.Clone(names)}
	byModel := make(map[string]*[2][]*instance)
	for _, model := range names {
		byModel[model] = new([2][]*instance)
	}
	for _, i := range instances {
		if i.scouts() {
			f.scouts = append(f.scouts, i)
			continue
		}
		f.instances = append(f.instances, i)
		if byModel[i.model] == nil {
			byModel[i.model] = new([2][]*instance)
			f.order = append(f.order, i.model)
		}
		tiers := byModel[i.model]
		tiers[i.tier] = append(tiers[i.tier], i)
	}
	rest := byModel[anyModel]
	for model, tiers := range byModel {
		p := &pool{model: model, state: states[model], changes: changes}
		if p.state == nil {
			p.state = new(modelState)
			states[model] = p.state
		}
		for t := range tiers {
			members := tiers[t]
			if len(members) == 0 && rest != nil {
				members = rest[t]
			}
			p.tiers[t] = newRotation(members)
			for _, i := range members {
				i.pools = append(i.pools, p)
			}
			p.drains = p.drains || slices.ContainsFunc(members, func(i *instance) bool { return i.drain.any() })
		}
		p.drains = p.drains && len(p.tiers[primary].instances)+len(p.tiers[fallback].instances) == 0
		if model == anyModel {
			f.any = p
			continue
		}
		f.pools[model] = p
		f.models = append(f.models, model)
	}
	slices.Sort(f.models)
	return f
}

// total is the longest timeouts.total of the pool's instances, 0 if one has none.
func (p *pool) total() (longest time.Duration) {
	for _, r := range p.tiers {
		for _, i := range r.instances {
			if i.deadlines.total == 0 {
				return 0
			}
			longest = max(longest, i.deadlines.total)
		}
	}
	return longest
}

// everyone returns the instances and the scouts.
func (f *fleet) everyone() []*instance { return slices.Concat(f.instances, f.scouts) }

// all returns all pools.
func (f *fleet) all() []*pool {
	pools := slices.Collect(maps.Values(f.pools))
	if f.any != nil {
		pools = append(pools, f.any)
	}
	return pools
}

// pool returns the pool for a request's model, or nil. A request without one
// goes to the only pool there is, or to that of anyModel.
func (f *fleet) pool(model string) *pool {
	if p := f.pools[model]; p != nil {
		return p
	}
	if model == "" && f.any == nil && len(f.pools) == 1 {
		return f.pools[f.models[0]]
	}
	return f.any
}
