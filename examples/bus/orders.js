'use strict';

// A transaction: an order is taken off one queue, an invoice goes to another, and everybody who watches is told; all of it or
// nothing. The second order is broken: it is tried three times and becomes a dead letter, and no invoice of it is sent.
//
//   node examples/bus/orders.js

const { connect } = require('../../bus');

async function main() {
  const bus = await connect();
  const orders = bus.queue('orders', { maxDeliveries: 3, retry: { delay: 10 } });
  await bus.subscribe('shipped', (/** @type {string} */ what) => console.log(`shipped: ${what}`));
  const controller = new AbortController();

  const working = orders.process(
    async (order) => {
      if (order.message.amount <= 0) throw new Error('nothing to ship');
      await bus.transaction((tx) => {
        tx.ack(order);
        tx.queue('invoices').send({ item: order.message.item, total: order.message.amount * 5 });
        tx.publish('shipped', order.message.item);
      });
    },
    {
      signal: controller.signal,
      onError: (error, { message, deliveries }) =>
        console.log(`${message.item}, try ${deliveries}: ${error.message}`),
    },
  );

  await orders.send({ item: 'apples', amount: 3 });
  await orders.send({ item: 'pears', amount: 0 });
  await orders.drain();
  controller.abort();
  await working;

  for (const { message } of await bus.queue('invoices').receive({ count: 10 })) {
    console.log(`invoice: ${message.item}, ${message.total}`);
  }
  for (const { message, dead } of await bus.queue('orders.dead').receive({ count: 10 })) {
    console.log(`dead: ${message.item}, ${dead?.deliveries} tries, ${dead?.error}`);
  }
  await bus.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
