// The claims of the JavaScript SDKs, each tried once against the gateway at GATEWAY_URL.
// Prints one JSON object: claim -> null, or why it does not hold. Run by tests/front_door/test_npm_sdks.py.
import assert from "node:assert/strict";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { collect, ollamaRefused, refused, tryAll } from "./trying.mjs";

const { GATEWAY_URL: url, OPEN_KEY, ONCE_OPENAI_KEY, ONCE_OLLAMA_KEY } = process.env;
const messages = [{ role: "user", content: "Say something." }];
const chat = { model: "mock-8b", messages, max_tokens: 5 };
const ollamaChat = { model: "llama3.2", messages, options: { num_predict: 5 } };

const openOpenai = (apiKey) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const openOllama = (key, headers = {}) =>
  new Ollama({ host: url, headers: { Authorization: `Bearer ${key}`, ...headers } });
const openai = openOpenai(OPEN_KEY);
const ollama = openOllama(OPEN_KEY);

const claims = {
  async "openai: a chat is answered"() {
    const { data, response, request_id } = await openai.chat.completions.create(chat).withResponse();
    assert.equal(data.usage.completion_tokens, 5);
    assert.ok(data.choices[0].message.content);
    assert.equal(response.headers.get("x-mrproxy-backend"), "mock-vllm");
    assert.equal(request_id, response.headers.get("x-request-id"));
  },
  async "openai: a chat streams each token"() {
    const parts = await collect(await openai.chat.completions.create({ ...chat, stream: true }));
    assert.equal(parts.filter((part) => part.choices[0].delta.content).length, 5);
    assert.ok(parts.every((part) => part.choices.length === 1 && !part.usage));
  },
  async "openai: usage streams to those who ask"() {
    const asked = { ...chat, stream: true, stream_options: { include_usage: true } };
    const parts = await collect(await openai.chat.completions.create(asked));
    assert.equal(parts.at(-1).usage.completion_tokens, 5);
  },
  async "openai: the streaming helper puts the answer together"() {
    const answer = await openai.chat.completions.stream(chat).finalChatCompletion();
    assert.equal(answer.choices[0].finish_reason, "length");
  },
  async "openai: a stream that is left leaves the gateway working"() {
    const stream = await openai.chat.completions.create({ ...chat, max_tokens: 1000, stream: true });
    for await (const _ of stream) break;
    assert.equal((await openai.chat.completions.create(chat)).usage.completion_tokens, 5);
  },
  async "openai: completions"() {
    const answer = await openai.completions.create({ model: "mock-8b", prompt: "one", max_tokens: 4 });
    assert.equal(answer.usage.completion_tokens, 4);
    const parts = await collect(
      await openai.completions.create({ model: "mock-8b", prompt: "one", max_tokens: 4, stream: true }),
    );
    assert.equal(parts.filter((part) => part.choices[0].text).length, 4);
  },
  async "openai: embeddings"() {
    const answer = await openai.embeddings.create({ model: "mock-8b", input: ["one", "two"] });
    assert.equal(answer.data.length, 2);
    assert.ok(answer.data[0].embedding.every((value) => typeof value === "number"));
  },
  async "openai: models are listed and retrieved"() {
    const listed = (await collect(await openai.models.list())).map((model) => model.id);
    assert.ok(listed.includes("org/model-7b"), listed.join());
    assert.equal((await openai.models.retrieve("org/model-7b")).id, "org/model-7b");
  },
  async "openai: 400"() {
    const error = await refused(
      openai.chat.completions.create({ ...chat, max_tokens: "many" }), OpenAI.BadRequestError);
    assert.equal(error.param, "max_tokens");
  },
  async "openai: 401"() {
    await refused(openOpenai("mr_unknown").models.list(), OpenAI.AuthenticationError);
  },
  async "openai: 404"() {
    const error = await refused(
      openai.chat.completions.create({ ...chat, model: "no-such-model" }), OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.ok(error.requestID);
  },
  async "openai: 429"() {
    const hurried = openOpenai(ONCE_OPENAI_KEY);
    await hurried.chat.completions.create(chat);
    const error = await refused(hurried.chat.completions.create(chat), OpenAI.RateLimitError);
    assert.ok(Number(error.headers.get("retry-after")) >= 1);
    assert.equal(error.headers.get("x-ratelimit-limit-requests"), "1");
    assert.equal(error.code, "rate_limit_exceeded");
  },
  async "openai: 503"() {
    const error = await refused(
      openai.chat.completions.create({ ...chat, model: "asleep" }), OpenAI.InternalServerError);
    assert.equal(error.status, 503);
    assert.ok(Number(error.headers.get("retry-after")) >= 1);
  },
  async "openai: a stream that breaks ends in the SDK's error"() {
    const stream = await openai.chat.completions.create(
      { ...chat, stream: true }, { headers: { "x-mock-fault": "reset_stream:3" } });
    await refused(collect(stream), OpenAI.APIError);
  },
  async "ollama: a chat is answered"() {
    const answer = await ollama.chat(ollamaChat);
    assert.equal(answer.eval_count, 5);
    assert.ok(answer.message.content);
  },
  async "ollama: a chat streams each token"() {
    const parts = await collect(await ollama.chat({ ...ollamaChat, stream: true }));
    assert.equal(parts.filter((part) => part.message.content).length, 5);
    assert.equal(parts.at(-1).done_reason, "length");
  },
  async "ollama: a text is generated"() {
    const asked = { model: "llama3.2", prompt: "one", options: { num_predict: 4 } };
    assert.equal((await ollama.generate(asked)).eval_count, 4);
    const parts = await collect(await ollama.generate({ ...asked, stream: true }));
    assert.equal(parts.filter((part) => part.response).length, 4);
  },
  async "ollama: embeddings"() {
    const answer = await ollama.embed({ model: "llama3.2", input: ["one", "two"] });
    assert.equal(answer.embeddings.length, 2);
    const { embedding } = await ollama.embeddings({ model: "llama3.2", prompt: "one" });
    assert.deepEqual(embedding, answer.embeddings[0]);
  },
  async "ollama: models are listed, shown and seen running"() {
    const listed = (await ollama.list()).models.map((model) => model.name);
    assert.ok(listed.includes("llama3.2:latest") && listed.includes("mock-8b"), listed.join());
    assert.equal((await ollama.show({ model: "llama3.2" })).details.family, "llama");
    assert.ok(Array.isArray((await ollama.ps()).models));
    assert.ok((await ollama.version()).version);
  },
  async "ollama: 400"() {
    await ollamaRefused(ollama.chat({ ...ollamaChat, options: { num_predict: "many" } }), 400);
  },
  async "ollama: 401"() {
    await ollamaRefused(openOllama("mr_unknown").list(), 401);
  },
  async "ollama: 404"() {
    const error = await ollamaRefused(ollama.chat({ ...ollamaChat, model: "no-such-model", stream: true }), 404);
    assert.match(error.message, /not found/);
  },
  async "ollama: 429"() {
    const hurried = openOllama(ONCE_OLLAMA_KEY);
    await hurried.chat(ollamaChat);
    await ollamaRefused(hurried.chat(ollamaChat), 429);
  },
  async "ollama: 503"() {
    await ollamaRefused(openOllama(OPEN_KEY, { "x-mock-fault": "status_503" }).chat(ollamaChat), 503);
  },
  async "ollama: a stream that breaks ends in the SDK's error"() {
    const broken = openOllama(OPEN_KEY, { "x-mock-fault": "reset_stream:3" });
    const error = await collect(await broken.chat({ ...ollamaChat, stream: true })).then(
      () => assert.fail("it did not break"), (error) => error);
    assert.match(error.message, /backend/);
  },
};

console.log(JSON.stringify(await tryAll(claims)));
