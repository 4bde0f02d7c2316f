/**
 * Sends in order, one at a time, awaited.
 *
 * zeromq 6 lets a send finish later now and then; a second send while one is under way is an error that tslab ignores,
 * and the message is gone (often the `idle` status that clients wait for). Every socket that tslab sends through is
 * wrapped: a queue drained by one loop.
 */
"use strict";

/**
 * The part of `socket` that tslab uses, with a queue in front of `send` (zeromq's own objects are sealed).
 * `drained()` resolves when everything queued so far has been sent.
 */
function serialSocket(socket) {
  const queue = [];
  let draining = null;
  let bound = Promise.resolve();

  async function drain() {
    // A first request may arrive while sockets are still being bound; a send would fail then.
    await bound.catch(() => {});
    while (queue.length > 0) {
      try {
        await socket.send(queue[0]);
      } catch (error) {
        if (!socket.closed) process._rawDebug(`steerlab kernel: a message could not be sent: ${error}`);
      }
      queue.shift();
    }
    draining = null;
  }

  return {
    send(frames) {
      queue.push(frames);
      draining ??= drain();
      return draining;
    },
    drained: () => draining ?? Promise.resolve(),
    bind(address) {
      bound = socket.bind(address);
      return bound;
    },
    close: () => socket.close(),
    [Symbol.asyncIterator]: () => socket[Symbol.asyncIterator](),
  };
}

/** Makes every socket that a server of class `ZmqServer` creates serial; iopub also never drops for a slow reader. */
function serialiseServer(ZmqServer) {
  for (const name of ["iopub", "shell", "control"]) {
    const key = Symbol(name);
    Object.defineProperty(ZmqServer.prototype, name, {
      get() {
        return this[key];
      },
      set(socket) {
        if (name === "iopub") socket.sendHighWaterMark = 0;
        this[key] = serialSocket(socket);
      },
    });
  }
}

module.exports = { serialSocket, serialiseServer };
