// Example 3: AI clients made durable by handing them `fetch` from the SDK. Their code, and ours, knows nothing of steps.
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, isStepCount, tool } from "ai";
import { fetch } from "inngest";
import OpenAI from "openai";
import { z } from "zod";

import { inngest, SAMPLE_API } from "./client.js";

// Retries of the clients are off: there is one layer of retries, and that is the platform's.
const anthropic = createAnthropic({ apiKey: "sample", baseURL: `${SAMPLE_API}/v1`, fetch });
const openai = new OpenAI({ apiKey: "sample", baseURL: `${SAMPLE_API}/v1`, fetch, maxRetries: 0 });

/** A tool that makes a durable request of its own. */
const weather = tool({
  description: "The current weather of a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    const response = await fetch(`${SAMPLE_API}/weather?city=${encodeURIComponent(city)}`);
    return response.text();
  },
});

async function askAnthropic(question: string): Promise<string> {
  const { text } = await generateText({
    model: anthropic("sample"),
    prompt: question,
    tools: { weather },
    stopWhen: isStepCount(5),
    maxOutputTokens: 1024,
    maxRetries: 0,
  });
  return text;
}

async function askOpenAI(question: string): Promise<string> {
  const completion = await openai.chat.completions.create({
    model: "sample",
    messages: [{ role: "user", content: question }],
  });
  return completion.choices[0]?.message.content ?? "";
}

export const weatherFunction = inngest.createFunction(
  { id: "weather-function", triggers: [{ event: "ts/weather.asked" }] },
  async ({ event }) => {
    const { question = "What is the weather in Oslo and Rome?" } = event.data as { question?: string };
    const answer = await askAnthropic(question);
    const summary = await askOpenAI(`Say this shorter: ${answer}`);
    return { answer, summary };
  },
);
