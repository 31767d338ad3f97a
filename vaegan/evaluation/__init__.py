"""What a trained model can and cannot do: pure metrics, a file for each question, and one runner."""
