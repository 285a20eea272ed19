package aigateway

import (
	"strings"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/alert"
)

// schemaRule is what check knows of a member and its Go type does not.
type schemaRule struct {
	required bool
	unless   string     // the member that makes it not required, if that is true
	text     *subschema // bounds of a text, of a list's items, or of an object's values
	names    *subschema // bounds of an object's names
	null     bool       // an object's values may be null
	least    float64    // of a number
	most     float64    // of a number; 0 is none
	orZero   bool       // 0 is allowed below least
	items    int        // at most, in a list; 0 is no limit
	examples []any
}

const (
	schemaPlace = "config.schema.json"
	// A segment is no ".", no "..", and has a byte at least, see canonical.
	schemaSegment     = `([A-Za-z0-9_~:@,=+-][A-Za-z0-9._~:@,=+-]*|\.[A-Za-z0-9_~:@,=+-][A-Za-z0-9._~:@,=+-]*|\.\.[A-Za-z0-9._~:@,=+-]+)`
	schemaPath        = `(/|(/` + schemaSegment + `)+)`
	schemaURL         = `^[Hh][Tt][Tt][Pp][Ss]?://(\[[0-9A-Fa-f:.]+(%25[A-Za-z0-9._~-]+)?\]|[^\x00-\x20/?#@:%\\"<>\[\]^{}|\x7f` + "`" + `]+)(:[0-9]{1,5})?(/` + schemaSegment + `)*/*$`
	schemaServer      = `^(([0-9]{1,3}\.){3}[0-9]{1,3}(:[0-9]{1,5})?|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%[^\]]+)?|\[[0-9A-Fa-f:.]+(%[^\]]+)?\]:[0-9]{1,5})$`
	schemaPlaceholder = `\{(env|file)\.[^}]*\}`
	schemaDuration    = `^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
	noControls        = `^[^\x00-\x1f\x7f-\x9f]*$`
	headerValue       = `^[^\x00-\x08\x0a-\x1f\x7f]*$`
)

// schemaRules are by Go type and field.
var schemaRules = map[string]schemaRule{
	"Config.DataDir":               {text: &subschema{MinLength: 1}, examples: []any{"./data", "/var/lib/gateway"}},
	"Config.LoadBalancingStrategy": {text: &subschema{Enum: strategies}},
	"Config.ErrorThreshold":        {least: 1},
	"Config.ErrorWindow":           {least: 1, examples: []any{300, "5m"}},
	"Config.AlertCooldown":         {examples: []any{300, "5m"}},
	"Config.StreamKeepalive":       {least: 1, orZero: true, examples: []any{15}},
	"Config.EngineRoutes":          {text: &subschema{Pattern: `^(/` + schemaSegment + `)+$`}, examples: []any{[]string{"/tokenize", "/v1/rerank"}}},
	"Config.Schema":                {examples: []any{"./" + schemaPlace}},

	"DNSConfig.Interval": {least: 1, most: 3600, examples: []any{15}},
	"DNSConfig.Timeout":  {least: 0.1, most: 60, examples: []any{5}},
	"DNSConfig.Servers":  {items: maxServers, text: &subschema{Pattern: schemaServer}, examples: []any{[]string{"127.0.0.1:8600"}}},

	"QueueConfig.MaxWaiting": {most: maxMaxWaiting, examples: []any{1000}},
	"QueueConfig.MaxWait":    {examples: []any{30, "1m"}},
	"QueueConfig.SpillAfter": {examples: []any{5}},

	"OverflowConfig.Models": {
		names: &subschema{MinLength: 1, MaxLength: 256, Pattern: noControls}, text: &subschema{MinLength: 1, MaxLength: 256, Pattern: noControls, Not: &subschema{Const: anyModel}},
		examples: []any{map[string]string{"qwen3-32b": "qwen3-32b-long"}},
	},
	"PollConfig.Interval": {least: 0.5, orZero: true, examples: []any{5}},
	"PollConfig.Timeout":  {least: 0.1, most: 60},

	"InstanceConfig.URL": {
		required: true, text: &subschema{Pattern: schemaURL},
		examples: []any{"http://10.0.0.1:8000/v1"},
	},
	"InstanceConfig.Resolve":        {text: &subschema{Enum: append([]string{""}, recordTypes...)}, examples: []any{resolveA}},
	"InstanceConfig.APIKey":         {text: &subschema{Pattern: headerValue}, examples: []any{"{env.VLLM_API_KEY}", "{file./etc/gateway/cloud.key}"}},
	"InstanceConfig.ModelName":      {required: true, unless: "discover", text: &subschema{MinLength: 1, MaxLength: 256, Pattern: noControls}, examples: []any{"qwen3-32b", "*"}},
	"InstanceConfig.Weight":         {most: maxWeight},
	"InstanceConfig.Name":           {text: &subschema{MaxLength: 64, Pattern: `^[A-Za-z0-9._~:@,=+/-]*$`}, examples: []any{"gpu-1"}},
	"InstanceConfig.UpstreamModel":  {text: &subschema{MaxLength: 256, Pattern: noControls, Not: &subschema{Const: anyModel}}, examples: []any{"Qwen/Qwen3-32B"}},
	"InstanceConfig.MaxConcurrency": {examples: []any{64}},
	"InstanceConfig.ContextLength":  {most: maxContext, examples: []any{131072}},
	"InstanceConfig.Headers": {
		names: &subschema{Pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}, text: &subschema{Pattern: headerValue}, null: true,
		examples: []any{map[string]string{"X-Team": "research"}},
	},
	"InstanceConfig.Engine": {text: &subschema{Enum: append([]string{""}, engines...)}},
	"InstanceConfig.Paths": {
		names: &subschema{Pattern: `^` + schemaPath + `$`}, text: &subschema{Pattern: `^` + schemaPath + `(\?[!-"$-~]*)?$`},
		examples: []any{map[string]string{"/v1/embeddings": "/embed?version=1"}},
	},

	"AlertsConfig.Name":          {text: &subschema{MaxLength: 100, Pattern: noControls}, examples: []any{"gateway-1"}},
	"AlertsConfig.Receivers":     {items: 100},
	"AlertsConfig.GroupWait":     {most: 3600, examples: []any{30}},
	"AlertsConfig.GroupInterval": {least: 1, examples: []any{300, "5m"}},
	"AlertsConfig.ErrorRate":     {most: 1},
	"AlertsConfig.Repeat":        {examples: []any{14400, "4h"}},

	"Receiver.Name":         {text: &subschema{MaxLength: 64, Pattern: `^[!#-\[\]-~]*$`}, examples: []any{"ops"}},
	"Receiver.Type":         {text: &subschema{Enum: append([]string{""}, alert.Types()...)}},
	"Receiver.URL":          {required: true, text: &subschema{MinLength: 1}, examples: []any{"{env.DINGTALK_URL}"}},
	"Receiver.Kinds":        {text: &subschema{Enum: alertKinds()}},
	"Receiver.MinSeverity":  {text: &subschema{Enum: []string{"", "info", "warning", "critical"}}},
	"Receiver.Language":     {text: &subschema{Enum: []string{"", "en", "zh"}}},
	"Receiver.MaxPerMinute": {most: 6000},

	"Config.KeysFile": {examples: []any{"keys.json5"}},
	"Config.Prices": {
		names: &subschema{MinLength: 1, MaxLength: 256, Pattern: noControls}, examples: []any{map[string]PriceConfig{"qwen3-32b": {0.2, 0.6}}},
	},
	"PriceConfig.Prompt":     {most: maxAmount},
	"PriceConfig.Completion": {most: maxAmount},

	"KeyConfig.Name":              {required: true, text: &subschema{MinLength: 1, MaxLength: 64, Pattern: `^[A-Za-z0-9._~:@,=+/-]*$`}, examples: []any{"team-a"}},
	"KeyConfig.Hash":              {text: &subschema{Pattern: `^((sha256:)?[0-9A-Fa-f]{64})?$`}, examples: []any{"sha256:" + strings.Repeat("0", 64)}},
	"KeyConfig.Key":               {text: &subschema{Enum: []string{""}}, examples: []any{"{env.TEAM_A_KEY}"}},
	"KeyConfig.User":              {text: &subschema{MaxLength: 256, Pattern: noControls}, examples: []any{"alice"}},
	"KeyConfig.Models":            {text: &subschema{MinLength: 1, MaxLength: 256, Pattern: noControls}, examples: []any{[]string{"qwen3-32b"}}},
	"KeyConfig.Expires":           {text: &subschema{Pattern: `^([0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{1,2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?)?$`}, examples: []any{"2027-01-31", "2027-01-31T12:00:00Z"}},
	"KeyConfig.Priority":          {text: &subschema{Enum: append([]string{""}, priorities...)}},
	"KeyConfig.Weight":            {least: 1, most: maxWeight},
	"KeyConfig.RequestsPerMinute": {most: maxRate, examples: []any{600}},
	"KeyConfig.TokensPerMinute":   {most: maxRate, examples: []any{200000}},
	"KeyConfig.MaxConcurrency":    {most: maxRate, examples: []any{20}},

	"BudgetsConfig.DailyTokens":   {most: maxRate},
	"BudgetsConfig.MonthlyTokens": {most: maxRate},
	"BudgetsConfig.DailyCost":     {most: maxAmount},
	"BudgetsConfig.MonthlyCost":   {most: maxAmount},

	"RetriesConfig.Attempts": {least: 1, most: 100},
	"RetriesConfig.Ratio":    {most: 10},

	"RecordConfig.Raw":       {text: &subschema{Enum: rawKinds}},
	"RecordConfig.Endpoints": {text: &subschema{Enum: recordedAPIs}},
	"RecordConfig.Sample":    {most: 1},
	"RecordConfig.Redact":    {text: &subschema{MinLength: 1}, examples: []any{[]string{"sk-[A-Za-z0-9]{20,}"}}},
	"RecordConfig.MaxAge":    {least: 3600, orZero: true, examples: []any{2592000, "720h"}},
	"RecordConfig.Compress":  {text: &subschema{Enum: compressKinds}},
}

func alertKinds() (all []string) {
	for _, kind := range alert.Kinds() {
		all = append(all, string(kind))
	}
	return all
}
