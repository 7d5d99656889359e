// The claims of the JavaScript SDKs, each tried with each of MODELS, behind which is an engine of every kind.
// Prints one JSON object: model -> claim -> null, or why it does not hold. Run by tests/front_door/test_npm_sdks.py.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { collect, ollamaRefused, refused, tryAll } from "./trying.mjs";

const { GATEWAY_URL: url, OPEN_KEY: key } = process.env;
const engineUrls = JSON.parse(process.env.ENGINE_URLS); // model -> the engine's own URL
const clients = { maxRetries: 0, timeout: 30_000 };
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, ...clients });
const anthropic = new Anthropic({ baseURL: `${url}/anthropic`, apiKey: key, ...clients });
const ollama = new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });

const user = (content) => [{ role: "user", content }];
const called = 'call:get_weather{"city": "Köln", "days": 2}';
const args = { city: "Köln", days: 2 };
const schema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
const described = { name: "get_weather", description: "What the sky will do." };
const openaiTool = { type: "function", function: { ...described, parameters: schema } };
const responsesTool = { type: "function", ...described, parameters: schema, strict: true };
const anthropicTool = { ...described, input_schema: schema };

// The next request to the model's engine meets this fault.
async function breakNext(model, kind) {
  const rule = { kind, count: 1, after_tokens: 3 };
  const told = await fetch(`${engineUrls[model]}/_mock/faults`, { method: "POST", body: JSON.stringify(rule) });
  assert.ok(told.ok);
}

const textOf = (message) => message.content.map((block) => block.text ?? "").join("");

const claims = {
  async "openai: a chat is answered"(model) {
    const answer = await openai.chat.completions.create({ model, messages: user("Hello."), max_tokens: 5 });
    assert.equal(answer.usage.completion_tokens, 5);
    assert.equal(answer.model, model);
    assert.ok(answer.choices[0].message.content);
  },
  async "openai: a chat streams each token, and usage to those who ask"(model) {
    const asked = { model, messages: user("Hello."), max_tokens: 5, stream: true };
    const parts = await collect(await openai.chat.completions.create(asked));
    assert.equal(parts.filter((part) => part.choices[0].delta.content).length, 5);
    const counted = await collect(
      await openai.chat.completions.create({ ...asked, stream_options: { include_usage: true } }));
    assert.equal(counted.at(-1).usage.completion_tokens, 5);
  },
  async "openai: the streaming helper puts text and calls together"(model) {
    const said = openai.chat.completions.stream({ model, messages: user("say:To be, or not to be.") });
    assert.equal(await said.finalContent(), "To be, or not to be.");
    const asked = openai.chat.completions.stream({ model, messages: user(called), tools: [openaiTool] });
    const call = await asked.finalFunctionToolCall();
    assert.deepEqual([call.name, JSON.parse(call.arguments)], ["get_weather", args]);
  },
  async "openai: the tool runner calls and answers"(model) {
    const heard = [];
    const run = (given) => (heard.push(JSON.parse(given)), "rain");
    const tool = { type: "function", function: { ...openaiTool.function, function: run } };
    const runner = openai.chat.completions.runTools({ model, messages: user(called), tools: [tool] });
    assert.equal(await runner.finalContent(), "The tools said: rain");
    assert.deepEqual(heard, [args]);
  },
  async "openai: an answer fits the schema"(model) {
    const format = { type: "json_schema", json_schema: { name: "weather", schema, strict: true } };
    const answer = await openai.chat.completions.parse({ model, messages: user("Where?"), response_format: format });
    assert.equal(typeof answer.choices[0].message.parsed.city, "string");
  },
  async "openai: completions"(model) {
    const asked = { model, prompt: "one", max_tokens: 4 };
    assert.equal((await openai.completions.create(asked)).usage.completion_tokens, 4);
    const parts = await collect(await openai.completions.create({ ...asked, stream: true }));
    assert.equal(parts.filter((part) => part.choices[0].text).length, 4);
  },
  async "openai: embeddings, of engines that have them"(model) {
    const asked = { model, input: ["one", "two"] };
    if (model === "claude-mock") return void (await refused(openai.embeddings.create(asked), OpenAI.APIError));
    const { data } = await openai.embeddings.create(asked);
    assert.deepEqual(data.map((each) => each.embedding.length), [8, 8]);
    const floats = await openai.embeddings.create({ ...asked, encoding_format: "float" });
    assert.ok(Math.abs(floats.data[1].embedding[0] - data[1].embedding[0]) < 1e-6);
  },
  async "openai: a stream that breaks ends in the SDK's error"(model) {
    await breakNext(model, "reset_stream");
    const stream = await openai.chat.completions.create({ model, messages: user("Hello."), stream: true });
    await refused(collect(stream), OpenAI.APIError);
  },
  async "responses: a response is made, kept and deleted"(model) {
    const made = await openai.responses.create({ model, input: "say:Kept." });
    assert.deepEqual([made.status, made.output_text], ["completed", "Kept."]);
    assert.deepEqual(await openai.responses.retrieve(made.id).then((kept) => kept.output), made.output);
    assert.equal((await collect(await openai.responses.inputItems.list(made.id))).length, 1);
    await openai.responses.delete(made.id);
    await refused(openai.responses.retrieve(made.id), OpenAI.NotFoundError);
  },
  async "responses: the streaming helper puts a response together"(model) {
    const stream = openai.responses.stream({ model, input: "say:To be, or not to be." });
    const deltas = [];
    stream.on("response.output_text.delta", (event) => deltas.push(event.delta));
    const response = await stream.finalResponse();
    assert.ok(deltas.length > 1);
    assert.equal(deltas.join(""), response.output_text);
    assert.equal(response.output_text, "To be, or not to be.");
  },
  async "responses: tools are called, and the conversation goes on"(model) {
    const first = await openai.responses.create({ model, input: called, tools: [responsesTool] });
    const call = first.output.find((item) => item.type === "function_call");
    assert.deepEqual(JSON.parse(call.arguments), args);
    const input = [{ type: "function_call_output", call_id: call.call_id, output: "rain" }];
    const asked = { model, input, tools: [responsesTool], previous_response_id: first.id };
    assert.equal((await openai.responses.create(asked)).output_text, "The tools said: rain");
  },
  async "responses: a stream that breaks ends in the SDK's error"(model) {
    await breakNext(model, "reset_stream");
    await refused(collect(await openai.responses.create({ model, input: "Hello.", stream: true })), OpenAI.APIError);
  },
  async "anthropic: a message is answered"(model) {
    const { data, request_id, response } = await anthropic.messages
      .create({ model, messages: user("Hello."), max_tokens: 5 }).withResponse();
    assert.deepEqual([data.stop_reason, data.usage.output_tokens], ["max_tokens", 5]);
    assert.equal(request_id, response.headers.get("x-request-id"));
  },
  async "anthropic: the streaming helper puts a message together"(model) {
    const stream = anthropic.messages.stream({ model, messages: user("say:To be, or not to be."), max_tokens: 50 });
    const texts = [];
    stream.on("text", (text) => texts.push(text));
    const message = await stream.finalMessage();
    assert.ok(texts.length > 1);
    assert.equal(textOf(message), "To be, or not to be.");
    assert.equal(message.stop_reason, "end_turn");
    assert.ok(message.usage.input_tokens > 0);
  },
  async "anthropic: tools are called and their results heard"(model) {
    const asked = { model, max_tokens: 200, tools: [anthropicTool] };
    const first = await anthropic.messages.stream({ ...asked, messages: user(called) }).finalMessage();
    const call = first.content.find((block) => block.type === "tool_use");
    assert.deepEqual([call.name, call.input], ["get_weather", args]);
    const result = { type: "tool_result", tool_use_id: call.id, content: "rain" };
    const messages = [...user(called), { role: "assistant", content: first.content }, ...user([result])];
    assert.equal(textOf(await anthropic.messages.create({ ...asked, messages })), "The tools said: rain");
  },
  async "anthropic: the tool runner, which asks for a thread, goes on without one"(model) {
    if (model === "claude-mock") return; // Anthropic's own business
    const heard = [];
    const tool = betaTool({ ...described, inputSchema: schema, run: (given) => (heard.push(given), "rain") });
    const last = await anthropic.beta.messages.toolRunner(
      { model, messages: user(called), tools: [tool], max_tokens: 200 }).runUntilDone();
    assert.equal(textOf(last), "The tools said: rain");
    assert.deepEqual(heard, [args]);
  },
  async "anthropic: thinking is a block of its own"(model) {
    const thinking = { type: "enabled", budget_tokens: 1024 };
    const message = await anthropic.messages.stream(
      { model, messages: user("say:Yes."), max_tokens: 2000, thinking }).finalMessage();
    assert.deepEqual(message.content.map((block) => block.type), ["thinking", "text"]);
  },
  async "anthropic: tokens are counted, models listed"(model) {
    assert.ok((await anthropic.messages.countTokens({ model, messages: user("Hello.") })).input_tokens > 0);
    const listed = (await collect(anthropic.models.list())).map((each) => each.id);
    assert.ok(listed.includes(model) || listed.includes(`${model}:latest`), listed.join());
    assert.equal((await anthropic.models.retrieve(listed[0])).id, listed[0]);
  },
  async "anthropic: refusals are the SDK's errors"(model) {
    const asked = { model, messages: user("Hello."), max_tokens: 5 };
    await refused(anthropic.messages.create({ ...asked, max_tokens: 0 }), Anthropic.BadRequestError);
    await refused(anthropic.messages.create({ ...asked, model: "no-such-model" }), Anthropic.NotFoundError);
    await refused(anthropic.withOptions({ apiKey: "mr_unknown" }).messages.create(asked), Anthropic.AuthenticationError);
    await breakNext(model, "status_503");
    assert.equal((await refused(anthropic.messages.create(asked), Anthropic.InternalServerError)).status, 503);
  },
  async "anthropic: a stream that breaks ends in the SDK's error"(model) {
    await breakNext(model, "reset_stream");
    const stream = anthropic.messages.stream({ model, messages: user("Hello."), max_tokens: 9 });
    await refused(stream.finalMessage(), Anthropic.APIError);
  },
  async "ollama: a chat is answered"(model) {
    const answer = await ollama.chat({ model, messages: user("Hello."), options: { num_predict: 5 } });
    assert.deepEqual([answer.done_reason, answer.eval_count], ["length", 5]);
  },
  async "ollama: a chat streams each token"(model) {
    const asked = { model, messages: user("Hello."), options: { num_predict: 5 }, stream: true };
    const parts = await collect(await ollama.chat(asked));
    assert.equal(parts.filter((part) => part.message.content).length, 5);
    assert.equal(parts.at(-1).eval_count, 5);
  },
  async "ollama: tools are called and their results heard"(model) {
    const asked = { model, tools: [openaiTool] };
    const { message } = await ollama.chat({ ...asked, messages: user(called) });
    assert.deepEqual(message.tool_calls[0].function.arguments, args);
    const result = { role: "tool", tool_name: "get_weather", content: "rain" };
    const second = await ollama.chat({ ...asked, messages: [...user(called), message, result] });
    assert.equal(second.message.content, "The tools said: rain");
  },
  async "ollama: thinking and schemas"(model) {
    const { message } = await ollama.chat({ model, messages: user("Where?"), think: true, format: schema });
    assert.ok(message.thinking.startsWith("Thinking ("), message.thinking);
    assert.equal(typeof JSON.parse(message.content).city, "string");
  },
  async "ollama: a text is generated"(model) {
    const asked = { model, prompt: "one", options: { num_predict: 4 } };
    assert.equal((await ollama.generate(asked)).eval_count, 4);
    const parts = await collect(await ollama.generate({ ...asked, stream: true }));
    assert.equal(parts.filter((part) => part.response).length, 4);
  },
  async "ollama: embeddings, of engines that have them"(model) {
    const asked = { model, input: ["one", "two"] };
    if (model === "claude-mock") return void (await assert.rejects(ollama.embed(asked)));
    assert.equal((await ollama.embed(asked)).embeddings.length, 2);
  },
  async "ollama: a model is shown"(model) {
    assert.ok((await ollama.show({ model })).capabilities.includes("completion"));
  },
  async "ollama: 503, and a stream that breaks, end in the SDK's error"(model) {
    await breakNext(model, "status_503");
    await ollamaRefused(ollama.chat({ model, messages: user("Hello.") }), 503);
    await breakNext(model, "reset_stream");
    await assert.rejects(collect(await ollama.chat({ model, messages: user("Hello."), stream: true })), /backend/);
  },
};

const outcomes = {};
for (const model of Object.keys(engineUrls)) outcomes[model] = await tryAll(claims, model);
console.log(JSON.stringify(outcomes));
