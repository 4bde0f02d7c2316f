/** The LoRA run: examples, loop, events, checkpoints, resume. */
export { type CheckpointPosition, listCheckpoints, type TrainingCheckpoint } from "./checkpoints";
export { learningRate, parseTrainConfig, stepsOf, type TrainConfig, trainerOptions } from "./config";
export { DetectorTraining, trainConfigOf, trainDetector, type TrainDetectorOptions } from "./detector";
export { choiceText, type StepChoice } from "./early-stop";
export { type BatchFigures, readEvents, type StepEvent, type TrainEvent, type ValidationEvent } from "./events";
export {
  engineExample,
  type KeepExample,
  type LabelExample,
  parseTrainExample,
  type SteeringEntry,
  targetOf,
  type TrainExample,
} from "./example-lines";
export { flatFromParts, partsFromFlat } from "./flat-parameters";
export { type ExampleSet, generateExamples, trainingCount } from "./generate";
export { checkInitial, initialLora, runTraining, type TrainingResult, type TrainingRun } from "./run";
export { claimRun } from "./run-lock";
