# --loss_scale last_round instead trains the last turn only.
swift sft \
  --model Qwen/Qwen3-8B \
  --dataset train.jsonl \
  --loss_scale default \
  --max_length 8192 \
  --output_dir saves/gateway
