// Package soak is the load of an endurance run: clients of every API that know of
// each request which ends it may have.
//
// Most requests are well. A part of them carries a fault of docs/faults.md: an
// instance that acts one out (package echomodel knows how, [Actor] says when), or a
// client that misbehaves. What the contract promises for the fault is the request's
// set of ends; any other end is a miss.
package soak

import (
	"fmt"
	"slices"
	"strings"
)

// Ends of a request, beside "status NNN" and what is wrong in words.
const (
	Whole   = "whole"   // a complete answer, every token of it right
	Broken  = "broken"  // begun, then an error event where it is a stream, then an aborted transfer
	Told    = "told"    // a stream with the instance's own error event, and a clean end
	Left    = "left"    // the client went, as it meant to
	Nothing = "nothing" // the connection ended without a byte of an answer
)

// status is the end by an error answer.
func status(code int) string { return fmt.Sprintf("status %d", code) }

// acting says which instances act a fault out.
type acting uint8

const (
	nowhere    acting = iota // the client's fault
	once                     // the first that gets the request
	everywhere               // all that get it
	onlyThere                // one instance of the fleet, so that no more than it is out for long
)

// fault is one way in which a request goes astray.
type fault struct {
	name string
	row  string // of docs/faults.md
	// what the instance does: members of the request's "echo", see echomodel.Script
	script string
	acting acting
	at     int // of onlyThere: the instance's number
	// kinds of requests that it is for; neither set means both
	streams, plain bool
	apis           string // that it is for, "" for all
	// ends that the contract allows; where the answer says whether an instance has acted
	// (a break in its middle), those are the ends if it has, and Whole if not.
	ends []string
	// shows: the answer tells whether the fault was acted out
	shows bool
	// client makes a misbehaving client of it; nil for an ordinary one
	client func(c *Client, p *Plan, o *Outcome)
	// pace of the answer, as members of the request's "echo"; "" for the plan's own
	pace string
}

// breaks is a stream that breaks after its beginning.
var breaks = &fault{name: "reset in the middle", row: "N8", script: `"fault":"reset_mid","after":8`, acting: once, shows: true, ends: []string{Broken}}

// wearies makes instances rest, the fallback one too, but for a moment only: meanwhile
// others may find nobody.
var wearies = &fault{name: "429 of all", row: "S2", script: `"fault":"status","status":429,"retry_after":"ms:1"`, acting: everywhere, ends: []string{status(429)}}

// instanceFaults are acted out by instances.
var instanceFaults = []*fault{
	{name: "reset", row: "N6", script: `"fault":"reset"`, acting: once, ends: []string{Whole}},
	{name: "eof", row: "N6", script: `"fault":"eof"`, acting: once, ends: []string{Whole}},
	{name: "garbage", row: "N10", script: `"fault":"garbage"`, acting: once, ends: []string{Whole}},
	{name: "bad length", row: "N10", script: `"fault":"bad_length"`, acting: once, ends: []string{Whole}},
	{name: "two lengths", row: "N10", script: `"fault":"two_lengths"`, acting: once, ends: []string{Whole}},
	breaks,
	{name: "end in the middle", row: "N8", script: `"fault":"eof_mid","after":8`, acting: once, shows: true, ends: []string{Broken}},
	{name: "bad chunk", row: "N8", script: `"fault":"bad_chunk","after":8`, acting: once, shows: true, ends: []string{Broken}},
	{name: "shorter than declared", row: "N9", script: `"fault":"truncate"`, acting: once, plain: true, shows: true, ends: []string{Broken}},
	{name: "no last chunk", row: "N8", script: `"fault":"truncate"`, acting: once, streams: true, ends: []string{Whole}},
	{name: "no answer", row: "N11", script: `"fault":"hang"`, acting: once, streams: true, ends: []string{Whole}},
	{name: "only a header", row: "N11", script: `"fault":"headers_then_hang"`, acting: once, streams: true, ends: []string{Whole}},
	{name: "silence in the middle", row: "N12", script: `"fault":"hang_mid","after":8`, acting: once, shows: true, ends: []string{Broken}},
	{name: "slow header", row: "N14", script: `"fault":"slow_drip"`, acting: once, ends: []string{Whole}},
	{name: "huge header", row: "N15", script: `"fault":"big_header"`, acting: once, ends: []string{Whole}},
	{name: "early hints", row: "N15", script: `"fault":"early_hints","size":4`, acting: once, ends: []string{Whole}},
	{name: "redirect", row: "N16", script: `"fault":"redirect"`, acting: once, ends: []string{Whole}},
	{name: "gzip", row: "N19", script: `"fault":"gzip"`, acting: once, ends: []string{Whole}},
	{name: "error event first", row: "N22", script: `"fault":"error_event"`, acting: once, streams: true, ends: []string{Whole}},
	{name: "error event", row: "N22", script: `"fault":"error_event","after":8`, acting: once, streams: true, apis: "chat completions messages", shows: true, ends: []string{Told}},
	// OpenAI's clients hand that event out like any other, so the gateway aborts the transfer.
	{name: "error event of responses", row: "N22", script: `"fault":"error_event","after":8`, acting: once, streams: true, apis: "responses", shows: true, ends: []string{Broken}},
	{name: "no end mark", row: "N23", script: `"fault":"no_done"`, acting: once, streams: true, apis: "chat completions", ends: []string{Whole}},
	{name: "no end", row: "N23", script: `"fault":"no_done"`, acting: once, streams: true, apis: "responses messages", shows: true, ends: []string{Broken}},
	{name: "more behind the end", row: "N24", script: `"fault":"after_done"`, acting: once, streams: true, ends: []string{Whole}},
	{name: "429 ms", row: "S1", script: `"fault":"status","status":429,"retry_after":"ms:200"`, acting: once, ends: []string{Whole}},
	{name: "429 s", row: "S1", script: `"fault":"status","status":429,"retry_after":"1"`, acting: once, ends: []string{Whole}},
	{name: "429 date", row: "S1", script: `"fault":"status","status":429,"retry_after":"date:1s"`, acting: once, ends: []string{Whole}},
	wearies,
	{name: "500", row: "S3", script: `"fault":"status"`, acting: once, ends: []string{Whole}},
	{name: "500 of all", row: "S3", script: `"fault":"status"`, acting: everywhere, ends: []string{status(500)}},
	{name: "502", row: "S4", script: `"fault":"status","status":502`, acting: once, ends: []string{Whole}},
	{name: "504", row: "S4", script: `"fault":"status","status":504`, acting: once, ends: []string{Whole}},
	{name: "503 with a rest", row: "S6", script: `"fault":"status","status":503,"retry_after":"ms:200"`, acting: once, ends: []string{Whole}},
	{name: "503", row: "S6", script: `"fault":"status","status":503`, acting: once, ends: []string{Whole}},
	{name: "loading", row: "S5", script: `"fault":"loading"`, acting: onlyThere, at: 0, ends: []string{Whole}},
	{name: "400", row: "S7", script: `"fault":"status","status":400`, acting: everywhere, ends: []string{status(400)}},
	{name: "413 of an instance", row: "S10", script: `"fault":"status","status":413`, acting: everywhere, ends: []string{status(413)}},
	{name: "422", row: "S7", script: `"fault":"status","status":422`, acting: everywhere, ends: []string{status(422)}},
	{name: "401 of an instance", row: "S8", script: `"fault":"status","status":401`, acting: onlyThere, at: 1, ends: []string{Whole}},
	{name: "404 of an instance", row: "S9", acting: onlyThere, at: 2, ends: []string{Whole}, script: `"fault":"status","status":404,` +
		`"body":"{\"error\":{\"message\":\"The model soak does not exist.\",\"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}"`},
	{name: "nothing in it", row: "S11", script: `"fault":"empty"`, acting: once, ends: []string{Whole}},
	{name: "web page", row: "S11", script: `"fault":"html"`, acting: once, ends: []string{Whole}},
	{name: "plain for a stream", row: "S12", script: `"fault":"wrong_type"`, acting: once, streams: true, ends: []string{Whole}},
}

// faults are all of them; those of clients stand in client.go and raw.go.
var faults = slices.Concat(instanceFaults, clientFaults, rawFaults)

// Names lists the faults with their rows of docs/faults.md.
func Names() []string {
	var all []string
	for _, f := range faults {
		all = append(all, f.row+" "+f.name)
	}
	return all
}

// fits reports whether the fault is for such a request.
func (f *fault) fits(p *Plan) bool {
	return (f.streams == f.plain || f.streams == p.stream) && (f.apis == "" || strings.Contains(f.apis, p.api.name))
}

// allows reports whether the request may have ended so. Acted tells, for faults that
// show, whether an instance acted it out.
func (f *fault) allows(end string, acted bool) bool {
	if f == nil || f.shows && !acted {
		return end == Whole
	}
	return slices.Contains(f.ends, end)
}

// want words what the fault allows.
func (f *fault) want(acted bool) string {
	if f == nil || f.shows && !acted {
		return Whole
	}
	return strings.Join(f.ends, " or ")
}
