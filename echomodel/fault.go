package echomodel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fault is one way to fail. The zero value is none.
type fault struct {
	args []string // the script's members that the arguments in a Caddyfile set, in order

	before func(x *exchange) error // changes the exchange, or, returning errCut, takes the place of the answer
	cut    func(x *exchange) error // breaks the answer after Script.After events, or a plain one at its half
	tail   func(x *exchange) error // comes after a whole stream

	atEnd       bool // with After 0 the cut comes at the stream's end
	declares    bool // a plain answer to be cut states its whole length; otherwise it is chunked
	streamsOnly bool // plain answers are not cut
	noTerminal  bool // the stream's terminal event is left out
}

var noFault = &fault{}

// faults are all of them by name. What each does is told at Handler, which is the manual.
var faults = map[string]*fault{
	"none": noFault,

	"status":            {args: []string{"status", "retry_after", "body"}, before: failStatus},
	"loading":           {before: failLoading},
	"redirect":          {args: []string{"location", "status"}, before: failRedirect},
	"html":              {before: failHTML},
	"empty":             {before: failEmpty},
	"hang":              {before: (*exchange).hang},
	"headers_then_hang": {before: failAfterHeaders},
	"reset":             {before: failReset},
	"eof":               {before: failEOF},
	"garbage":           {before: failGarbage},
	"bad_length":        {before: failBadLength},
	"two_lengths":       {before: failTwoLengths},

	"big_header":  {args: []string{"size"}, before: addBigHeader},
	"early_hints": {args: []string{"size"}, before: sendEarlyHints},
	"wrong_type":  {before: refuseStream},
	"gzip":        {before: wrapGzip},
	"slow_drip":   {args: []string{"itl"}, before: wrapDrip},
	"sleep":       {},

	"reset_mid":   {args: []string{"after"}, cut: (*exchange).reset, declares: true},
	"eof_mid":     {args: []string{"after"}, cut: (*exchange).hangUp},
	"truncate":    {args: []string{"after"}, cut: (*exchange).hangUp, declares: true, atEnd: true},
	"hang_mid":    {args: []string{"after"}, cut: (*exchange).hang, declares: true},
	"bad_chunk":   {args: []string{"after"}, cut: breakChunk},
	"error_event": {args: []string{"after", "status", "body"}, cut: sendErrorEvent, streamsOnly: true},
	"no_done":     {noTerminal: true},
	"after_done":  {tail: sendAfterDone},
}

// FaultNames are the names that Script.Fault may have, sorted.
func FaultNames() []string { return slices.Sorted(maps.Keys(faults)) }

// faultList is FaultNames for people.
var faultList = strings.Join(FaultNames(), ", ")

func checkFault(name string) error {
	if _, known := faults[name]; known || name == "" {
		return nil
	}
	return fmt.Errorf("unknown fault %q: want one of %s", name, faultList)
}

// begin counts the fault and lets it act as far as it comes before the answer.
func (x *exchange) begin() error {
	if x.fault == noFault {
		return nil
	}
	x.s.stats.fault(x.script.Fault)
	if x.fault.before == nil {
		return nil
	}
	return x.fault.before(x)
}
