// What the suites of claims share: how a claim is tried, and what it says of streams and refusals.
import assert from "node:assert/strict";

export async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

export async function refused(promise, kind) {
  const error = await promise.then(() => assert.fail("it was not refused"), (error) => error);
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  return error;
}

export async function ollamaRefused(promise, status) {
  const error = await promise.then(() => assert.fail("it was not refused"), (error) => error);
  assert.equal(error.name, "ResponseError", `${error.name}: ${error.message}`);
  assert.equal(error.status_code, status);
  return error;
}

// claim -> null, or why it does not hold
export async function tryAll(claims, ...given) {
  const outcomes = {};
  for (const [claim, holds] of Object.entries(claims)) {
    outcomes[claim] = await holds(...given).then(() => null, (error) => error.stack ?? String(error));
  }
  return outcomes;
}
