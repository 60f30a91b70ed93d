// Takes with rate-limiter-flexible. For each line of its input, a number of takes, it makes
// these takes in concurrent tasks on one connection, and prints how many nanoseconds that
// took. The arguments are the URL, the number of tasks and the number of keys:
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
