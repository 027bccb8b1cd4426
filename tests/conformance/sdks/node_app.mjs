// Functions of the official npm SDK, with its defaults (checkpoints included). Run from a folder with node_modules.

import http from "node:http";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { Inngest, NonRetriableError, RetryAfterError, StepError } = require("inngest");
const { serve } = require("inngest/node");

const ran = [];
const flying = { now: 0, most: 0 };
const note = (name) => (ran.push(name), name);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function app(id, options) {
  const client = new Inngest({ id, ...options });
  const fn = (name, config, body) =>
    client.createFunction({ id: name, triggers: [{ event: `${id}/${name}` }], retries: 2, ...config }, body);
  return { client, functions: functions(fn, id) };
}

function functions(fn, id) {
  const said = (name) => note(`${id}:${name}`);
  return [
    fn("sequence", {}, async ({ step }) => {
      const first = await step.run("first", () => said("first"));
      const second = await step.run("second", () => said("second"));
      const same = await step.run("second", () => said("again"));
      return [first, second, same];
    }),
    fn("parallel", {}, async ({ step }) => {
      const group = await Promise.all(["a", "b", "c"].map((name) => step.run(name, () => said(name))));
      return [...group, await step.run("after", () => said("after"))];
    }),
    fn("flaky", {}, async ({ step }) => {
      await step.run("before", () => said("before"));
      return step.run("flaky", () => {
        said("try");
        if (ran.filter((name) => name === `${id}:try`).length < 3) throw new Error("not yet");
        return 7;
      });
    }),
    fn("caught", { retries: 1 }, async ({ step }) => {
      try {
        await step.run("bad", () => {
          said("bad");
          throw new TypeError("for good");
        });
      } catch (problem) {
        return [problem instanceof StepError, problem.message, await step.run("after", () => said("after caught"))];
      }
      return "not raised";
    }),
    fn("retried", {}, async ({ step, attempt }) => {
      const done = await step.run("once", () => said("once"));
      if (attempt === 0) throw new Error("the function itself");
      return [done, attempt];
    }),
    fn("sleeps", {}, async ({ step }) => {
      await step.run("tired", () => said("tired"));
      await step.sleep("nap", "1s");
      return step.run("awake", () => said("awake"));
    }),
    fn("final", {}, async ({ step }) => {
      await step.run("final", () => {
        said("final");
        throw new NonRetriableError("never again");
      });
    }),
    fn("later", {}, async ({ attempt }) => {
      if (attempt === 0) throw new RetryAfterError("busy", "2s");
      return attempt;
    }),
    fn("slow", {}, async ({ step }) => {
      await step.run("one", () => pause(80));
      await step.run("two", () => pause(80));
      await Promise.all(["three", "four"].map((name) => step.run(name, () => pause(80))));
    }),
    fn("limited", { concurrency: 2 }, async ({ step }) =>
      step.run("work", async () => {
        flying.now += 1;
        flying.most = Math.max(flying.most, flying.now);
        for (let n = 0; n < 500 && flying.most < 2; n++) await pause(10);
        await pause(20);
        flying.now -= 1;
      }),
    ),
    fn("wide", {}, async ({ step, event, events }) => {
      const part = await step.run("part", () => "x".repeat(2_000_000));
      await step.sleep("nap", "1s");
      return [part.length, event.data.x.length, events.length];
    }),
    fn("large", {}, async ({ step }) => {
      const sizes = [];
      for (let n = 0; n < 4; n++) {
        sizes.push((await step.run(`part ${n}`, () => "x".repeat(2_000_000))).length);
        await step.sleep(`nap ${n}`, "1s");
      }
      return sizes;
    }),
  ];
}

const apps = {
  "/api/inngest": serve(app("node")),
  "/api/plain": serve(app("plain", { checkpointing: false })),
  "/api/one": serve(app("one", { checkpointing: false, optimizeParallelism: false })),
};

const server = http.createServer((request, response) => {
  const path = new URL(request.url, "http://h").pathname;
  if (path === "/ran") return response.end(JSON.stringify({ ran, most: flying.most }));
  return apps[path] ? apps[path](request, response) : response.writeHead(404).end();
});
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
