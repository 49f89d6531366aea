// Run by Node with the stock roslib: asks a rosbridge server for goals as a web page does, and prints what it was answered.
import { Action, Ros, Service, Topic } from 'roslib';

const [url, kind] = process.argv.slice(2);
const told = {};
const ros = new Ros();
await new Promise((resolve, reject) => {
  ros.on('connection', resolve);
  ros.on('error', reject);
  ros.connect(url).catch(reject);
});
const action = new Action({ ros, name: '/count', actionType: kind });

function goal(args, whenFed = () => {}) {
  const feedback = [];
  return new Promise((resolve) => {
    const id = action.sendGoal(
      args,
      (result) => resolve({ result, feedback }),
      (value) => {
        feedback.push(value.step);
        whenFed(id, feedback.length);
      },
      (error) => resolve({ error, feedback }),
    );
  });
}

told.done = await goal({ max_steps: 5 });
told.cancelled = await goal({ max_steps: 500 }, (id, n) => n === 3 && action.cancelGoal(id));
told.refused = await goal({ task: 'refuse', max_steps: 1 });
told.aborted = await goal({ task: 'fail', max_steps: 3 });
told.wrong = await goal({ max_steps: 'many' });
told.all = await goal({ max_steps: 500 }, (_, n) => n === 3 && action.cancelAllGoals());
told.actions = await new Promise((resolve, reject) =>
  new Service({ ros, name: '/rosapi/action_servers', serviceType: 'rosapi/GetActionServers' }).callService({}, resolve, reject),
);
const text = new Topic({ ros, name: '/said', messageType: 'std_msgs/String' });
told.echo = await new Promise((resolve) => {
  text.subscribe((message) => resolve(message.data));
  setTimeout(() => text.publish({ data: 'grüß dich' }), 100);
});
process.stdout.write(JSON.stringify(told));
process.exit(0);
