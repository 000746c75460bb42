package ipc

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// unsupportedFields are fields of OpenAI's, llama-server's and vLLM's APIs that
// would change the answer and that this server does not implement, each with
// the values that ask for nothing. Anything else is refused: an answer that
// quietly ignores a tool or a limit is worse than none. Fields that
// are in no list are ignored, as those servers do.
var unsupportedFields = map[string][]string{
	// OpenAI
	"audio":              nil,
	"function_call":      {`"none"`, `"auto"`},
	"functions":          {`[]`},
	"modalities":         {`["text"]`},
	"prediction":         nil,
	"reasoning_effort":   nil,
	"service_tier":       {`"auto"`, `"default"`},
	"store":              {`false`},
	"verbosity":          {`"medium"`},
	"web_search_options": nil,
	// llama-server
	"cache_prompt":          {`true`},
	"chat_template":         nil,
	"dry_multiplier":        {`0`},
	"dynatemp_range":        {`0`},
	"id_slot":               {`-1`},
	"ignore_eos":            {`false`},
	"json_schema":           nil,
	"lora":                  {`[]`},
	"mirostat":              {`0`},
	"n_discard":             {`0`},
	"n_keep":                {`0`},
	"n_predict":             nil,
	"n_probs":               {`0`},
	"post_sampling_probs":   {`false`},
	"return_progress":       {`false`},
	"return_tokens":         {`false`},
	"samplers":              nil,
	"t_max_predict_ms":      {`0`},
	"timings_per_token":     {`false`},
	"top_n_sigma":           {`-1`, `0`},
	"xtc_probability":       {`0`},
	"add_generation_prompt": {`true`},
	// vLLM
	"allowed_token_ids":          {`[]`},
	"bad_words":                  {`[]`},
	"continue_final_message":     {`false`},
	"guided_choice":              nil,
	"guided_grammar":             nil,
	"guided_json":                nil,
	"guided_regex":               nil,
	"include_stop_str_in_output": {`false`},
	"length_penalty":             {`1`},
	"min_tokens":                 {`0`},
	"prompt_logprobs":            nil,
	"skip_special_tokens":        {`true`},
	"stop_token_ids":             {`[]`},
	"structured_outputs":         nil,
	"use_beam_search":            {`false`},
	// OpenAI, /v1/completions
	"best_of": {`1`},
	"suffix":  {`""`},
}

// insteadOf helps where this server has the feature under another name.
var insteadOf = map[string]string{
	"function_call":    "use tool_choice",
	"functions":        "use tools",
	"guided_grammar":   "use grammar",
	"guided_json":      `use "response_format": {"type": "json_schema", ...}`,
	"json_schema":      `use "response_format": {"type": "json_schema", ...}`,
	"n_predict":        "use max_tokens",
	"n_probs":          "use logprobs and top_logprobs",
	"return_progress":  `use "stream_options": {"include_progress": true}`,
	"reasoning_effort": `use "chat_template_kwargs" if the model's template has such a variable`,
}

// refuseUnsupported fails o when it asks for a feature that does not exist here.
func refuseUnsupported(o *object) { refuseListed(o, unsupportedFields) }

// refuseListed fails o when it has a field of a table with a value that asks for
// something.
func refuseListed(o *object, table map[string][]string) {
	for _, field := range slices.Sorted(maps.Keys(o.fields)) { // sorted: same request, same error
		neutral, known := table[field]
		raw, set := o.get(field)
		if !known || !set || slices.ContainsFunc(neutral, func(v string) bool { return sameJSON(raw, v) }) {
			continue
		}
		hint := "leave it out"
		if len(neutral) > 0 {
			hint = "only " + strings.Join(neutral, " or ") + " is accepted"
		}
		if s, ok := insteadOf[field]; ok {
			hint = s
		}
		o.fail(field, "is not supported by this server, got %s; %s", show(raw), hint)
	}
}

// sameJSON compares a value with a compact literal, numbers by value.
func sameJSON(raw json.RawMessage, literal string) bool {
	if isNumber(raw) {
		a, errA := strconv.ParseFloat(string(raw), 64)
		b, errB := strconv.ParseFloat(literal, 64)
		return errA == nil && errB == nil && a == b
	}
	var compact bytes.Buffer
	return json.Compact(&compact, raw) == nil && compact.String() == literal
}
