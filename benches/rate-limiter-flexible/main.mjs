// Takes by rate-limiter-flexible. For each line of the input, a number, it takes
// so often, by so many tasks at once on one connection, and prints how many
// nanoseconds that took. The command line is URL, tasks and keys:
//
//   node main.mjs redis://127.0.0.1:6379 128 1000

import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';

const [url, tasks, keys] = process.argv.slice(2);
const client = new Redis(url, { enableAutoPipelining: true });
const limiter = new RateLimiterRedis({
  storeClient: client,
  keyPrefix: 'store-bench-npm',
  points: 1_000_000,
  duration: 1,
});

async function take(times) {
  let next = 0;
  const worker = async () => {
    while (next < times) {
      await limiter.consume(`key${next++ % keys}`);
    }
  };
  await Promise.all(Array.from({ length: tasks }, worker));
}

for await (const line of createInterface({ input: process.stdin })) {
  const begin = process.hrtime.bigint();
  await take(Number(line));
  console.log(String(process.hrtime.bigint() - begin));
}
client.disconnect();
